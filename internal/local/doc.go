// Package local runs a whole cluster on this machine: an embedded etcd in this
// process, and a coordinator and workers as child processes of the same
// binary, so that each of them can be killed for real.
//
// Invariants:
//   - A child never outlives this process: each holds the read end of a pipe
//     whose write end closes with its parent, however that dies.
//   - A child that dies is started again under the same id; only a child that
//     cannot start at all ends the cluster.
//   - Stopping goes from the front to the back: the coordinator finishes its
//     requests while the workers still serve them.
//
// The package knows how to start programs and read the registry; it knows
// nothing of models beyond the size of their experts.
package local
