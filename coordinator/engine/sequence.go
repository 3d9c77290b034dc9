package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/coordinator/sample"
	"github.com/conclave-serve/conclave/internal/obs"
)

// sequence is one request on its way through the engine. The engine's
// goroutine owns it.
type sequence struct {
	req     Request
	number  uint64 // in order of arrival
	ctx     context.Context
	out     *mailbox
	tokens  []int32 // the prompt and what was generated
	done    int     // positions whose keys and values are in the cache
	kv      kvcache.Sequence
	sampler *sample.Sampler
	force   forcing
	allowed []uint64       // the mask of a constraint; nil before there is one
	prompt  []TokenLogprob // log-probabilities of the prompt so far
	cached  int            // tokens of the prompt that were in the cache when it was placed
	trace   *obs.Request   // nil unless the request is sampled

	// The step at hand.
	share   int       // positions computed
	draft   []int32   // a guess at the tokens after the known ones
	logits  []float32 // of the positions that need them
	guessed int       // tokens of draft that were computed,
	right   int       // and those of them that came true
	before  int       // tokens that there were before the step
	ended   bool
	last    Event // if it has ended

	// When it came, got a place for the first time, and said its first token.
	arrived, placed, spoke time.Time
}

// before orders sequences: by priority, then by arrival.
func before(a, b *sequence) int {
	return cmp.Or(cmp.Compare(a.req.Priority, b.req.Priority), cmp.Compare(a.number, b.number))
}

// insert puts s where it belongs in an ordered list.
func insert(list []*sequence, s *sequence) []*sequence {
	at, _ := slices.BinarySearchFunc(list, s, before)
	return slices.Insert(list, at, s)
}

// generated counts the tokens produced so far.
func (s *sequence) generated() int { return len(s.tokens) - len(s.req.Prompt) }

// remaining counts the positions that the next token waits for.
func (s *sequence) remaining() int { return len(s.tokens) - s.done }

// at returns the token of a position, known or guessed.
func (s *sequence) at(pos int) int32 {
	if pos < len(s.tokens) {
		return s.tokens[pos]
	}
	return s.draft[pos-len(s.tokens)]
}

// identity is what the sequence's pages depend on beside its tokens.
func (s *sequence) identity(e *Engine) kvcache.Identity {
	id := kvcache.Identity{Salt: s.req.CacheSalt}
	if e.cfg.Expanded != nil {
		id.Expanded = e.cfg.Expanded(len(s.req.Prompt))
	}
	return id
}

// findable returns the tokens whose pages may be found in the cache: none while
// the prompt is scored, which takes the logits of every position.
func (s *sequence) findable() []int32 {
	if s.scoring() {
		return nil
	}
	return s.tokens
}

// timing says where the time of a sequence went until now.
func (s *sequence) timing(now time.Time) *Timing {
	placed, spoke := s.placed, s.spoke
	if placed.IsZero() {
		placed = now
	}
	if spoke.IsZero() {
		spoke = now
	}
	return &Timing{
		Queued: placed.Sub(s.arrived), Prefill: spoke.Sub(placed), Decode: now.Sub(spoke),
	}
}

// scoring reports whether prompt positions still need their logits.
func (s *sequence) scoring() bool {
	return s.req.PromptLogprobs && len(s.prompt) < len(s.req.Prompt)
}

// needsLogits reports whether the logits of position pos are of use: for the
// next token or one after a guess or, while the prompt is scored, for the
// prompt token after it.
func (s *sequence) needsLogits(pos int, scoring bool) bool {
	return pos >= len(s.tokens)-1 || scoring && pos < len(s.req.Prompt)
}

// digest takes in the logits of the step's positions: it scores the prompt,
// chooses tokens, and compares them with what was guessed. A position behind a
// wrong guess has seen a token that never was, and does not count.
func (s *sequence) digest(vocab, context int) {
	known, scoring, logits := len(s.tokens), s.scoring(), s.logits
	s.guessed, s.right, s.before = max(0, s.done+s.share-known), 0, known
	for end := s.done + s.share; s.done < end; s.done++ {
		pos := s.done
		if pos < known-1 && !(scoring && pos < len(s.req.Prompt)) {
			continue
		}
		row := logits[:vocab]
		logits = logits[vocab:]
		if scoring {
			s.scorePrompt(pos, row)
		}
		if pos < known-1 {
			continue
		}
		if s.advance(row, context); s.ended {
			s.done++
			return
		}
		if pos+1 < end {
			if s.draft[pos+1-known] != s.tokens[pos+1] {
				s.done++
				return
			}
			s.right++
		}
	}
}

// advance chooses the next token from logits and delivers it, unless it ends
// the sequence.
func (s *sequence) advance(logits []float32, context int) {
	if s.req.PromptLogprobs && s.generated() == 0 {
		if err := s.checkPrompt(); err != nil {
			s.end(Event{Token: -1, Finish: FinishError, Err: err})
			return
		}
		first := Event{Token: -1, Prompt: s.prompt}
		if s.req.MaxTokens == 0 {
			first.Finish = FinishLength
			s.end(first)
			return
		}
		s.out.put(first)
	}
	token, last, err := s.next(logits, context)
	if err != nil {
		s.end(Event{Token: -1, Finish: FinishError, Err: err})
		return
	}
	event := s.accept(token, last, logits, context)
	if s.spoke.IsZero() {
		s.spoke = time.Now()
		event.Cached, event.Timing = s.cached, s.timing(s.spoke)
	}
	if event.Finish != "" {
		s.end(event)
		return
	}
	s.out.put(event)
}

// end says that e is the sequence's last event; the engine delivers it when the
// pages are back.
func (s *sequence) end(e Event) { s.ended, s.last = true, e }

// scorePrompt takes in the logits of position pos, which predict the prompt
// token after it.
func (s *sequence) scorePrompt(pos int, logits []float32) {
	if len(s.prompt) == 0 {
		s.prompt = append(s.prompt, TokenLogprob{Token: s.req.Prompt[0]})
	}
	if next := pos + 1; next == len(s.prompt) && next < len(s.req.Prompt) {
		s.prompt = append(s.prompt, describe(logits, s.req.Prompt[next], max(s.req.Logprobs, 0)))
	}
}

// checkPrompt returns an error if the model has given a prompt token no
// probability at all, which NaN among the logits does.
func (s *sequence) checkPrompt() error {
	for i, p := range s.prompt {
		if p.Logprob != p.Logprob {
			return fmt.Errorf("the logits before prompt token %d name no probability", i)
		}
	}
	return nil
}

// next chooses the next token: the sampler's under the request's constraint,
// unless another one is forced. last says that the completion ends with it:
// it is a stop id, or nothing may follow.
func (s *sequence) next(logits []float32, context int) (token int32, last bool, err error) {
	constraint := s.force.constraint()
	var allowed []uint64
	left := min(s.req.MaxTokens-s.generated(), context-len(s.tokens))
	if constraint != nil {
		allowed = s.mask(constraint, left)
	}
	var banned []int32
	if s.generated() < s.req.MinTokens {
		banned = s.req.StopIDs
	}
	token, err = s.sampler.Choose(logits, allowed, banned)
	if err != nil {
		return -1, false, err
	}
	if constraint == nil {
		token = s.force.next(token, s.req.StopIDs)
		last = s.stops(token) || s.force.ends()
	} else if last = s.stops(token); !last {
		if !constraint.Accept(token) {
			return -1, false, fmt.Errorf("the constraint allowed token %d and does not take it", token)
		}
		last = constraint.MustEnd() || s.stuck(constraint, left-1)
	}
	s.sampler.Remember(token)
	return token, last, nil
}

// stuck reports whether nothing may follow the token at hand though constraint
// has more: it is fulfilled, what else it has is longer than left, and the
// request has no stop id to say so, or may not have one yet.
func (s *sequence) stuck(constraint Constraint, left int) bool {
	early := s.generated()+1 < s.req.MinTokens
	if left <= 0 || !early && len(s.req.StopIDs) > 0 || !constraint.MayEnd() {
		return false
	}
	constraint.Mask(s.allowed, left)
	return !slices.ContainsFunc(s.allowed, func(word uint64) bool { return word != 0 })
}

// mask returns the tokens that constraint allows next, of left tokens that may
// still come, and the stop ids where it may end.
func (s *sequence) mask(constraint Constraint, left int) []uint64 {
	if s.allowed == nil {
		s.allowed = make([]uint64, (s.sampler.Vocab()+63)/64)
	}
	constraint.Mask(s.allowed, left)
	if constraint.MayEnd() {
		for _, id := range s.req.StopIDs {
			if int(id) < s.sampler.Vocab() {
				s.allowed[id/64] |= 1 << (id % 64)
			}
		}
	}
	return s.allowed
}

// stops reports whether token is one that ends the completion here.
func (s *sequence) stops(token int32) bool {
	return slices.Contains(s.req.StopIDs, token) && !s.force.holds()
}

// accept takes a new token and returns the event that reports it; Finish is
// set if it is the last: because next said so, or by the number of positions a
// sequence may have.
func (s *sequence) accept(token int32, last bool, logits []float32, context int) Event {
	s.tokens = append(s.tokens, token)
	e := Event{Token: token}
	if s.req.Logprobs >= 0 {
		e.Logprob = describe(logits, token, s.req.Logprobs)
	}
	switch {
	case last:
		e.Finish = FinishStop
	case s.generated() >= s.req.MaxTokens, len(s.tokens) >= context:
		e.Finish = FinishLength
	}
	return e
}

func describe(logits []float32, token int32, k int) TokenLogprob {
	p, top := sample.Logprobs(logits, token, k)
	return TokenLogprob{Token: token, Logprob: p, Top: top}
}
