package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/coordinator/sched"
	"github.com/conclave-serve/conclave/internal/obs"
)

// step advances the running sequences by one forward pass.
func (e *Engine) step(ctx context.Context) {
	e.reap()
	e.admit()
	e.schedule()
	e.settle()
	if len(e.rows) == 0 {
		return // all were cancelled, or gave their pages back
	}
	began, trace := time.Now(), e.traced()
	logits, err := e.forward(obs.WithStep(ctx, trace))
	if err == nil {
		e.sample(logits)
	}
	e.observed(trace, began, err)
	switch {
	case err == nil:
		e.emit()
	case ctx.Err() != nil:
		e.abort(ErrDraining)
	default:
		e.abort(err)
	}
	e.settle()
}

// reap releases the sequences whose callers have gone, or whose time is up.
func (e *Engine) reap() {
	gone := func(s *sequence) bool {
		switch err := s.ctx.Err(); {
		case err == nil:
			return false
		case errors.Is(err, context.DeadlineExceeded):
			e.release(s, Event{Token: -1, Finish: FinishError, Err: ErrDeadline})
		default:
			e.release(s, Event{Token: -1, Finish: FinishCancelled})
		}
		return true
	}
	e.running = slices.DeleteFunc(e.running, gone)
	e.waiting = slices.DeleteFunc(e.waiting, gone)
}

// admit moves waiting sequences into the batch, in order, while there is a
// place and the cache has pages for all of their tokens. With fewer, a sequence
// that was preempted would come back at once, for as far as the pages that it
// gave up reach.
func (e *Engine) admit() {
	for len(e.waiting) > 0 {
		s := e.waiting[0]
		for !e.place(s) {
			if n := len(e.running); n == 0 || e.running[n-1].req.Priority <= s.req.Priority {
				return
			}
			e.preemptLast() // it comes behind s
		}
		e.waiting = slices.Delete(e.waiting, 0, 1)
		e.running = insert(e.running, s)
	}
}

// place finds pages for s, the first of those that wait, and reports whether
// there is a place for it in the batch.
func (e *Engine) place(s *sequence) bool {
	if len(e.running) == e.cfg.MaxRunning || e.full && len(e.running) > 0 {
		return false
	}
	s.done = e.cfg.Cache.Match(&s.kv, s.identity(e), s.findable())
	if !e.cfg.Cache.Grow(&s.kv, s.done, len(s.tokens)) {
		e.cfg.Cache.Release(&s.kv)
		s.done, e.full = 0, true
		return false
	}
	if s.placed.IsZero() {
		s.placed, s.cached = time.Now(), s.done
	}
	return true
}

// schedule divides the step among the running sequences, finds pages for what
// each will add, and lays out the rows.
func (e *Engine) schedule() {
	e.demands, e.shares = e.demands[:0], e.shares[:0]
	for _, s := range e.running {
		s.propose(e)
		e.demands = append(e.demands, sched.Demand{
			Rows: s.remaining(), AllLogits: s.scoring(), Draft: len(s.draft),
		})
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
				Token: s.at(pos), Pos: pos, Seq: &s.kv,
				Expand: forward.Expands(pos, len(s.req.Prompt)),
				Logits: s.needsLogits(pos, scoring),
			})
		}
	}
}

// findPages grows every sequence to its share. Where pages run out, guesses are
// given up first; then the sequence that comes last gives its own back and
// starts over later, be it the one in need: by the determinism contract it
// continues with the same bits. The first always advances, since the cache holds
// any one sequence.
func (e *Engine) findPages() {
	for i := 0; i < len(e.running); i++ {
		s := e.running[i]
		for i < len(e.running) && !e.cfg.Cache.Grow(&s.kv, s.done, s.done+s.share) {
			if known := s.remaining(); s.share > known {
				s.share = known
				continue
			}
			e.preemptLast()
		}
	}
}

func (e *Engine) preemptLast() {
	last := len(e.running) - 1
	s := e.running[last]
	e.running[last] = nil
	e.running = e.running[:last]
	e.cfg.Cache.Release(&s.kv)
	s.done, s.share, s.draft = 0, 0, s.draft[:0]
	e.waiting = insert(e.waiting, s)
	e.preemptions++
	e.full = false
	s.trace.Event("preempted")
}

// forward runs the model over the rows, with one routing table for the step.
func (e *Engine) forward(ctx context.Context) ([]float32, error) {
	if e.cfg.Session != nil {
		e.cfg.Session.Begin()
		defer e.cfg.Session.End()
	}
	e.steps++
	parts := e.cfg.MicroBatches
	if parts > 0 {
		return e.cfg.Model.Step(ctx, e.rows, parts)
	}
	parts = e.tuner.Parts(len(e.rows))
	began := time.Now()
	logits, err := e.cfg.Model.Step(ctx, e.rows, parts)
	if err == nil {
		e.tuner.Took(len(e.rows), parts, time.Since(began))
	}
	return logits, err
}

// sample lets every running sequence take in the logits of its rows; they are
// independent, so they share the cores.
func (e *Engine) sample(logits []float32) {
	for _, s := range e.running {
		n := 0
		scoring := s.scoring()
		for pos := s.done; pos < s.done+s.share; pos++ {
			if s.needsLogits(pos, scoring) {
				n += e.cfg.Vocab
			}
		}
		s.logits, logits = logits[:n], logits[n:]
	}
	if e.cfg.Pool == nil {
		for i := range e.running {
			(*digestJob)(e).Do(i, 0)
		}
		return
	}
	e.cfg.Pool.Run(len(e.running), (*digestJob)(e))
}

// digestJob lets one running sequence take in its logits.
type digestJob Engine

// Do implements kernels.Job.
func (e *digestJob) Do(i, _ int) { e.running[i].digest(e.cfg.Vocab, e.context) }

// emit hands what the sequences have said to the cache and to their callers,
// and releases those that are done.
func (e *Engine) emit() {
	keep := e.running[:0]
	for _, s := range e.running {
		e.drafted += int64(s.guessed)
		e.accepted += int64(s.right)
		e.generated += int64(len(s.tokens) - s.before)
		if s.ended {
			e.release(s, s.last)
			continue
		}
		if e.cfg.Cache.Advance(&s.kv, s.tokens, s.done) {
			e.full = false // the first of waiting may share them
		}
		keep = append(keep, s)
	}
	clear(e.running[len(keep):])
	e.running = keep
}

// release gives a sequence's pages back; settle delivers its last event.
func (e *Engine) release(s *sequence, last Event) {
	if s.share > 0 { // what it has computed may serve others
		e.cfg.Cache.Advance(&s.kv, s.tokens, s.done)
	}
	e.cfg.Cache.Release(&s.kv)
	e.full = false
	last.Timing = s.timing(time.Now())
	s.last = last
	e.ending = append(e.ending, s)
}

// settle makes the loop's counts visible, and then delivers the last events of
// those that were released: whoever sees one finds it counted.
func (e *Engine) settle() {
	e.publish()
	for _, s := range e.ending {
		s.out.put(s.last)
	}
	clear(e.ending)
	e.ending = e.ending[:0]
}

// abort ends the running sequences. Those that wait are not concerned: the
// next step may find their experts.
func (e *Engine) abort(err error) {
	for _, s := range e.running {
		s.share = 0 // nobody knows how far the step came
		e.release(s, Event{Token: -1, Finish: FinishError, Err: err})
	}
	clear(e.running)
	e.running = e.running[:0]
}
