// Package router decides: which experts a token needs (the gate), which workers
// serve each of them (the routing table), how one layer's choices become one
// message per worker (the route), which of several replicas is asked (balance,
// level), and when a call is late, asked twice, or its worker left alone (pace, limits,
// health).
//
// Invariants:
//   - It is pure: no I/O, no clock, no goroutine, no randomness. The same
//     inputs give the same decision on every machine. Times are numbers of
//     nanoseconds that the caller gives.
//   - All tokens of an expert in a step go to one replica, so that its weights are
//     read once, unless it has so many that computing takes longer than reading:
//     then replicas may share them. Whoever it is, the outputs have the same bits.
//   - However many calls were made for a token's expert, one answer counts.
//   - A Table is immutable; a step uses one table from its first layer on.
//   - Ties at the gate go to the lower expert index, and outputs are combined
//     in ascending expert order, so that a token's sum does not depend on
//     where its experts ran.
package router
