// Package kvcache holds the keys and values of running sequences, and of those
// that have run lately, in memory of fixed size off the Go heap.
//
// A page is a run of PageTokens adjacent positions of a sequence. The layers
// are divided into groups by the window that they attend through, and a page of
// a group takes one block of memory for each of the group's columns: equal
// numbers of layers, so that one pool of equal blocks serves all. A sequence
// holds a page of a group only while one of the group's layers can still reach
// it: layers with a window cost their window, and no more.
//
// A page whose positions are final becomes findable by its content: by the
// SHA-256 of the tokens of its sequence from the first to its last, of the salt
// of the request, and of the form in which each position was computed. A later
// sequence that begins alike takes it over instead of computing it. A findable
// page that no sequence holds stays, as cached, until its memory is needed.
//
// Invariants:
//   - A block belongs to exactly one page or to the free list. A page is held
//     by sequences, or cached, or gone: free, used and cached blocks add up to
//     the total.
//   - A page that is findable is never written. A sequence writes in pages that
//     it alone holds: those from its first position that is not final on.
//   - Pages are equal if their keys are: by the determinism contract they then
//     have the same bits, and one of two is given back.
//   - A page is forgotten before those in front of it, in the layers that see
//     all: whoever holds a page there holds all in front of it, pages are cached
//     from the last to the first, and forgotten in the order in which they were
//     cached.
//   - Page i holds positions i*PageTokens to (i+1)*PageTokens-1: what attention
//     reduces over is anchored at absolute positions.
//   - The memory is taken once and bounded by the caller.
//
// The package knows tokens as numbers, and nothing of requests or arithmetic.
// It is used by one goroutine at a time, except that different positions may be
// written at once.
//
// The life of a sequence:
//
//	var s kvcache.Sequence
//	done := cache.Match(&s, id, tokens)           // known positions
//	for cache.Grow(&s, done, len(tokens)) {       // room for those to come
//		… Put keys and values of some positions from done on, attend to Pages …
//		done += some
//		cache.Advance(&s, tokens, done)           // they are final
//	}
//	cache.Release(&s)
package kvcache
