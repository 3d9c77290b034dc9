// Package faultnet puts a bad network between two processes of a test: a relay
// that hands bytes on late, and peers that send garbage (Pelt).
//
// Invariants:
//   - Bytes arrive in order and whole: it delays a stream, it never changes it.
//   - A relay's goroutines and connections end with Close.
//   - What is under way is bounded, so that a fast sender feels a slow link.
//
// The package knows nothing of what it relays.
//
// Example:
//
//	r, err := faultnet.Listen(workerAddr, time.Millisecond)
//	if err != nil {
//		return err
//	}
//	defer r.Close()
//	dial(r.Addr())
package faultnet
