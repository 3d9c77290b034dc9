// Package worker is the expert server: it holds the experts that the plan
// gives it, runs them over the activations that coordinators send, and tells
// the registry what it has ready.
//
// The main path is lane.go: receive a request, check it, run its experts
// (execute.go, on shard's arithmetic), add what they say if that is asked
// (sum.go), answer. follow.go loads and drops experts
// as plans change, drain.go hands them over; worker.go starts and stops the whole.
//
// Weights that come from afar are read from other workers first (peers.go), which
// serve what they have (offer.go), and compared with theirs (verify.go, mend.go).
//
// Invariants:
//   - A worker never computes with an expert that it does not hold: the
//     request is refused with a typed status.
//   - An output row depends on its activation row and its expert alone, not on
//     what else the request holds.
//   - Experts are announced after they are loaded and dropped only when every
//     coordinator has stopped routing to them.
//   - What a peer sends is as hostile as a request: it is bounded, checked and
//     compared, and loading goes on without it.
//
// A worker knows nothing of attention, sequences, tokens or sampling, and of
// other workers only whose weights it may read.
package worker
