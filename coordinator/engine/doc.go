// Package engine is the step loop: it admits requests, runs them together one
// step at a time, samples, and hands tokens to their callers.
//
// step.go is the path: admit, schedule, forward, dispatch (inside the forward
// pass), sample, emit, release.
//
// Invariants:
//   - One goroutine owns every sequence and the cache; callers talk to it
//     through a queue and mailboxes, and never block it.
//   - What a request receives depends on the request alone: not on its batch
//     neighbours, on how its prompt was chunked, or on having been preempted.
//   - Every stream of events ends with exactly one event that has Finish set.
//   - A sequence's pages are released, and its end is counted, before its last
//     event is delivered.
//
// The package knows nothing of HTTP, text, networks or clusters.
package engine
