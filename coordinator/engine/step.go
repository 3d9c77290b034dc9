package engine

import (
	"context"
	"slices"

	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/coordinator/sched"
)

// step advances the running sequences by one forward pass.
func (e *Engine) step(ctx context.Context) {
	e.reap()
	e.admit()
	e.schedule()
	e.publish()
	if len(e.rows) == 0 {
		return // all were cancelled, or gave their pages back
	}
	logits, err := e.forward(ctx)
	switch {
	case err == nil:
		e.emit(logits)
	case ctx.Err() != nil:
		e.abort(ErrDraining)
	default:
		e.abort(err)
	}
	e.publish()
}

// reap releases the sequences whose callers have gone.
func (e *Engine) reap() {
	gone := func(s *sequence) bool {
		if s.ctx.Err() == nil {
			return false
		}
		e.release(s, Event{Token: -1, Finish: FinishCancelled})
		return true
	}
	e.running = slices.DeleteFunc(e.running, gone)
	e.waiting = slices.DeleteFunc(e.waiting, gone)
}

// admit moves waiting sequences into the batch, first come, first served,
// while there is a place and the cache has pages for all of their tokens. With
// fewer, a sequence that was preempted would come back at once, for as far as
// the pages that it gave up reach.
func (e *Engine) admit() {
	n := 0
	for _, s := range e.waiting {
		if len(e.running) == e.cfg.MaxRunning || !e.cfg.Cache.Grow(&s.kv, s.done, len(s.tokens)) {
			break
		}
		e.running = append(e.running, s)
		n++
	}
	e.waiting = slices.Delete(e.waiting, 0, n)
}

// schedule divides the step among the running sequences, finds pages for what
// each will add, and lays out the rows.
func (e *Engine) schedule() {
	e.demands, e.shares = e.demands[:0], e.shares[:0]
	for _, s := range e.running {
		e.demands = append(e.demands, sched.Demand{Rows: s.remaining(), AllLogits: s.scoring()})
		e.shares = append(e.shares, 0)
	}
	sched.Share(e.demands, sched.Budget{Rows: e.cfg.MaxRows, Logits: e.cfg.MaxLogits}, e.shares)
	for i, s := range e.running {
		s.share = e.shares[i]
	}
	e.findPages()
	e.rows = e.rows[:0]
	for _, s := range e.running {
		scoring := s.scoring()
		for pos := s.done; pos < s.done+s.share; pos++ {
			e.rows = append(e.rows, forward.Row{
				Token: s.tokens[pos], Pos: pos, Seq: &s.kv,
				Expand: forward.Expands(pos, len(s.req.Prompt)),
				Logits: s.needsLogits(pos, scoring),
			})
		}
	}
}

// findPages grows every sequence to its share. Where pages run out, the
// youngest sequence gives its own back and starts over later, be it the one in
// need: by the determinism contract it continues with the same bits. The oldest
// always advances, since the cache holds any one sequence.
func (e *Engine) findPages() {
	for i := 0; i < len(e.running); i++ {
		s := e.running[i]
		for i < len(e.running) && !e.cfg.Cache.Grow(&s.kv, s.done, s.done+s.share) {
			e.preemptYoungest()
		}
	}
}

func (e *Engine) preemptYoungest() {
	last := len(e.running) - 1
	s := e.running[last]
	e.running[last] = nil
	e.running = e.running[:last]
	e.cfg.Cache.Release(&s.kv)
	s.done, s.share = 0, 0
	e.waiting = slices.Insert(e.waiting, 0, s)
	e.preemptions++
}

// forward runs the model over the rows, with one routing table for the step.
func (e *Engine) forward(ctx context.Context) ([]float32, error) {
	if e.cfg.Session != nil {
		e.cfg.Session.Begin()
		defer e.cfg.Session.End(ctx)
	}
	e.steps++
	return e.cfg.Model.Step(ctx, e.rows, 1)
}

// emit samples the sequences that have reached the end of their tokens and
// hands the results to their callers.
func (e *Engine) emit(logits []float32) {
	vocab := e.cfg.Vocab
	keep := e.running[:0]
	for _, s := range e.running {
		var last []float32
		scoring := s.scoring()
		for pos := s.done; pos < s.done+s.share; pos++ {
			if !s.needsLogits(pos, scoring) {
				continue
			}
			last, logits = logits[:vocab], logits[vocab:]
			if scoring {
				s.scorePrompt(pos, last)
			}
		}
		s.done += s.share
		e.cfg.Cache.Advance(&s.kv, s.tokens, s.done)
		if s.remaining() > 0 || !e.advance(s, last) {
			keep = append(keep, s)
		}
	}
	clear(e.running[len(keep):])
	e.running = keep
}

// advance samples the next token of s from logits and reports whether s is
// finished.
func (e *Engine) advance(s *sequence, logits []float32) bool {
	if s.req.PromptLogprobs && s.generated() == 0 {
		if err := s.checkPrompt(); err != nil {
			e.release(s, Event{Token: -1, Finish: FinishError, Err: err})
			return true
		}
		first := Event{Token: -1, Prompt: s.prompt}
		if s.req.MaxTokens == 0 {
			first.Finish = FinishLength
			e.release(s, first)
			return true
		}
		s.out.put(first)
	}
	token, last, err := s.next(logits, e.context)
	if err != nil {
		e.release(s, Event{Token: -1, Finish: FinishError, Err: err})
		return true
	}
	event := s.accept(token, last, logits, e.context)
	if event.Finish == "" {
		s.out.put(event)
		return false
	}
	e.release(s, event)
	return true
}

// release gives a sequence's pages back and delivers its last event.
func (e *Engine) release(s *sequence, last Event) {
	e.cfg.Cache.Release(&s.kv)
	s.out.put(last)
}

// abort ends the running sequences. Those that wait are not concerned: the
// next step may find their experts.
func (e *Engine) abort(err error) {
	for _, s := range e.running {
		e.release(s, Event{Token: -1, Finish: FinishError, Err: err})
	}
	clear(e.running)
	e.running = e.running[:0]
}
