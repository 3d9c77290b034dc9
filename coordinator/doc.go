// Package coordinator is the process in front: it owns the HTTP API, the
// tokenizer, attention, the cache and the step loop, and sends expert work to
// the workers that the registry knows.
//
// Its folders, in the order of a request: openai (HTTP), engine (the step
// loop), sched, kvcache, forward (the layers), dispatch (lanes to workers),
// lastresort (experts that none answers for), sample. This package itself starts
// and stops them (coordinator.go), follows the registry (cluster.go) or, cut off
// from it, the workers (scout.go), makes the placement while it is elected to
// (control.go, rebalance.go, calmed by probation.go and restraint.go), takes
// orders for workers (drain.go), and tells what the cluster looks like (status.go,
// sight.go) and does (reporter.go).
//
// Invariants:
//   - Nothing is served before the weights are loaded; /healthz answers from
//     the start.
//   - Losing etcd freezes placement and membership, nothing else.
//   - On shutdown running requests finish within the drain timeout.
//
// A coordinator never imports the worker package: the two meet in proto.
package coordinator
