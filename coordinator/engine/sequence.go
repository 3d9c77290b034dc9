package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/coordinator/sample"
)

// sequence is one request on its way through the engine. The engine's
// goroutine owns it.
type sequence struct {
	req     Request
	ctx     context.Context
	out     *mailbox
	tokens  []int32 // the prompt and what was generated
	done    int     // positions whose keys and values are in the cache
	kv      kvcache.Sequence
	sampler *sample.Sampler
	force   forcing
	allowed []uint64       // the mask of a constraint; nil before there is one
	prompt  []TokenLogprob // log-probabilities of the prompt so far
	share   int            // positions computed in the step at hand
}

// generated counts the tokens produced so far.
func (s *sequence) generated() int { return len(s.tokens) - len(s.req.Prompt) }

// remaining counts the positions that the next token waits for.
func (s *sequence) remaining() int { return len(s.tokens) - s.done }

// scoring reports whether prompt positions still need their logits.
func (s *sequence) scoring() bool {
	return s.req.PromptLogprobs && len(s.prompt) < len(s.req.Prompt)
}

// needsLogits reports whether the logits of position pos are of use: for the
// next token or, while the prompt is scored, for the prompt token after it.
func (s *sequence) needsLogits(pos int, scoring bool) bool {
	return pos == len(s.tokens)-1 || scoring && pos < len(s.req.Prompt)
}

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
	if constraint != nil {
		allowed = s.mask(constraint, min(s.req.MaxTokens-s.generated(), context-len(s.tokens)))
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
		last = constraint.MustEnd()
	}
	s.sampler.Remember(token)
	return token, last, nil
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
