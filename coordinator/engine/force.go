package engine

import (
	"fmt"
	"slices"
)

// Forced is a stretch of tokens that a completion must have, whatever the
// model would rather say.
//
// The entries of a request take effect in order: the next one waits for its
// After once the tokens of the one before are out. Forced tokens are delivered,
// counted and penalised like sampled ones.
type Forced struct {
	// After is the token that Tokens follow; -1 means that they come at once.
	After int32
	// Limit, if positive, bounds the wait: where so many tokens have come
	// without After, it is forced.
	Limit int
	// Optional says that the completion may end while this entry waits. If it
	// may not, After takes the place of a stop id.
	Optional bool
	// Tokens follow After. There may be none, with a Limit or with Then.
	Tokens []int32
	// Then, if set, restricts everything that follows Tokens, up to the end of
	// the completion. Only the last entry of a request may have it.
	Then Constraint
}

// Constraint is what a completion is held to, such as a grammar. It belongs to
// one request, whose tokens it follows.
type Constraint interface {
	// Mask sets bit i%64 of allowed[i/64] for every token i that may come next,
	// and clears the others. left is how many tokens the completion may still
	// have: a constraint that can be fulfilled in so many stays so.
	Mask(allowed []uint64, left int)
	// Accept takes the token that came next and reports whether it was allowed.
	Accept(token int32) bool
	// MayEnd reports whether the completion fulfils the constraint as it is,
	// MustEnd also that nothing may follow.
	MayEnd() bool
	MustEnd() bool
}

// forcing is where a sequence is in the Force of its request.
type forcing struct {
	left   []Forced   // entries that wait; the first is the one at hand
	queue  []int32    // tokens of the entry before, still to come
	waited int        // tokens since the first of left began to wait
	then   Constraint // of the last entry: in force once left and queue are empty
}

// next returns the token that takes the place of the one that was sampled.
func (f *forcing) next(sampled int32, stops []int32) int32 {
	for len(f.queue) == 0 && len(f.left) > 0 && f.left[0].After < 0 {
		f.begin()
	}
	if len(f.queue) > 0 {
		token := f.queue[0]
		f.queue = f.queue[1:]
		return token
	}
	if f.spoken() {
		return sampled
	}
	entry := &f.left[0]
	f.waited++
	late := entry.Limit > 0 && f.waited > entry.Limit
	if late || !entry.Optional && slices.Contains(stops, sampled) {
		sampled = entry.After
	}
	if sampled == entry.After {
		f.begin()
	}
	return sampled
}

// spoken reports whether all tokens that are forced have come.
func (f *forcing) spoken() bool { return len(f.queue)+len(f.left) == 0 }

// constraint returns what the next token is held to, or nil.
func (f *forcing) constraint() Constraint {
	for len(f.queue) == 0 && len(f.left) > 0 && f.left[0].After < 0 {
		f.begin()
	}
	if f.then == nil || !f.spoken() {
		return nil
	}
	return f.then
}

// ends reports whether the constraint at hand allows nothing more.
func (f *forcing) ends() bool { return f.then != nil && f.spoken() && f.then.MustEnd() }

// begin queues the tokens of the entry at hand.
func (f *forcing) begin() {
	f.queue, f.then = f.left[0].Tokens, f.left[0].Then
	f.left, f.waited = f.left[1:], 0
}

// holds reports whether the completion may not end here.
func (f *forcing) holds() bool {
	if f.then != nil && f.spoken() {
		return !f.then.MayEnd()
	}
	return len(f.queue) > 0 || len(f.left) > 0 && !f.left[0].Optional
}

// validateForce checks the entries against a vocabulary of so many ids.
func validateForce(entries []Forced, vocab int) error {
	for i, entry := range entries {
		if entry.After < -1 || int(entry.After) >= vocab {
			return fmt.Errorf("%w: entry %d is forced after token %d, the vocabulary has %d",
				ErrInvalid, i, entry.After, vocab)
		}
		if entry.Limit < 0 || entry.Limit > 0 && entry.After < 0 {
			return fmt.Errorf("%w: entry %d is forced after token %d with limit %d",
				ErrInvalid, i, entry.After, entry.Limit)
		}
		if entry.Then != nil && i != len(entries)-1 {
			return fmt.Errorf("%w: entry %d of %d has a constraint, only the last one may",
				ErrInvalid, i, len(entries))
		}
		for _, token := range entry.Tokens {
			if token < 0 || int(token) >= vocab {
				return fmt.Errorf("%w: entry %d forces token %d, the vocabulary has %d",
					ErrInvalid, i, token, vocab)
			}
		}
	}
	return nil
}
