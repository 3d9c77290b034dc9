package coordinator

import (
	"bytes"
	"maps"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

const (
	// grace is how long the experts of a worker that vanished are kept for it where others
	// serve them. A process that restarts is back within it, and finds its experts as they
	// were. Longer would leave them with a copy less.
	grace = 5 * time.Second

	// A worker that comes back flapLimit times within flapWindow gets no experts for
	// firstProbation, then for twice that, up to lastProbation, until it has been quiet for
	// flapMemory. Fewer times would punish a rolling upgrade that went wrong once.
	flapLimit      = 5
	flapWindow     = 2 * time.Minute
	firstProbation = 15 * time.Second
	lastProbation  = 4 * time.Minute
	flapMemory     = 10 * time.Minute
)

// attendance is what is remembered of a worker.
type attendance struct {
	worker  membership.Worker // as last registered
	left    time.Time         // when it vanished; zero while it is registered
	last    time.Time         // when it last came back
	returns []time.Time       // within flapWindow, oldest first
	penalty time.Duration     // of the last probation
	until   time.Time         // when that ends
}

// damper keeps placement calm while workers come and go, or the registry loses its history. It
// decides by what it is told, and by the time that it is told. Its methods may be called
// concurrently.
type damper struct {
	model string

	mu      sync.Mutex
	workers map[string]*attendance
	plan    []byte // the last one seen
	newest  uint64 // epoch that anybody was heard of
}

func newDamper(model string) *damper {
	return &damper{model: model, workers: map[string]*attendance{}}
}

// observe takes in a state of the registry, in the order in which they come.
func (d *damper) observe(s membership.State, now time.Time) {
	if !s.Connected {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.newest = max(d.newest, lastEpoch(s))
	if s.Plan != nil && !bytes.Equal(s.Plan, d.plan) {
		if plan, err := shard.DecodePlan(s.Plan); err == nil {
			d.newest, d.plan = max(d.newest, plan.Epoch), s.Plan
		}
	}
	for id, w := range s.Workers {
		a := d.workers[id]
		if a == nil {
			a = &attendance{worker: w}
			d.workers[id] = a
		}
		// Who has handed over before it left has done nothing wrong.
		if w.Incarnation != a.worker.Incarnation && !a.worker.Draining || a.lapsed(w) {
			a.back(now)
		}
		a.worker, a.left = w, time.Time{}
	}
	for id, a := range d.workers {
		if _, here := s.Workers[id]; here {
			continue
		}
		if a.left.IsZero() {
			a.left = now
		}
		if now.Sub(a.left) > flapMemory {
			delete(d.workers, id)
		}
	}
}

// lapsed reports whether the same run of a worker is back after its lease had ended.
func (a *attendance) lapsed(w membership.Worker) bool {
	return !a.left.IsZero() && w.Incarnation == a.worker.Incarnation
}

// back notes that the worker is here again.
func (a *attendance) back(now time.Time) {
	if now.Sub(a.last) > flapMemory {
		a.penalty = 0
	}
	a.last = now
	for len(a.returns) > 0 && now.Sub(a.returns[0]) > flapWindow {
		a.returns = a.returns[1:]
	}
	a.returns = append(a.returns, now)
	if len(a.returns) < flapLimit {
		return
	}
	a.penalty = min(max(2*a.penalty, firstProbation), lastProbation)
	a.until = now.Add(a.penalty)
	a.returns = nil
}

// view is the state to plan for: without those on probation, with those that are expected
// back, and with the last plan if the registry has lost it. again is after what time it will
// be another one though nothing happens; 0 if it will not.
func (d *damper) view(s membership.State, now time.Time) (_ membership.State, again time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	held, lost := s.Workers, s.Plan == nil
	s.Workers = maps.Clone(held)
	if lost {
		s.Plan = d.plan
	}
	later := func(at time.Time) {
		if wait := at.Sub(now); again == 0 || wait < again {
			again = wait
		}
	}
	for id, a := range d.workers {
		w, here := held[id]
		switch {
		case here && now.Before(a.until):
			w.Draining = true
			s.Workers[id] = w
			later(a.until)
		case !here && a.expected(now) && (lost || d.covered(a, held, s.Plan)):
			s.Workers[id] = a.worker
			later(a.left.Add(grace))
		}
	}
	return s, again
}

// expected reports whether a worker that vanished may be waited for. Who drained does not come
// back as it was.
func (a *attendance) expected(now time.Time) bool {
	return !a.left.IsZero() && now.Sub(a.left) < grace && !a.worker.Draining
}

// covered reports whether the workers that are there serve all that a plan gives to one that
// is not.
func (d *damper) covered(a *attendance, there map[string]membership.Worker, data []byte) bool {
	plan, err := shard.DecodePlan(data)
	if data == nil || err != nil || plan.Model != d.model {
		return false
	}
	missing := plan.Assigned(shard.WorkerID(a.worker.ID))
	if missing == nil {
		return false
	}
	for _, w := range there {
		ready, err := readySets(w.Ready, len(plan.Layers))
		if err != nil || w.Model != d.model {
			continue
		}
		for l := range missing {
			missing[l] = missing[l].Minus(ready[l])
		}
	}
	for _, set := range missing {
		if set.Len() > 0 {
			return false
		}
	}
	return true
}

// probation tells until when a worker gets no experts; zero if it may have some.
func (d *damper) probation(id string, now time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.workers[id]; a != nil && now.Before(a.until) {
		return a.until
	}
	return time.Time{}
}

// last is the newest epoch that anybody was heard of.
func (d *damper) last() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newest
}

// consider is decide for a cluster whose workers come and go. again is when to look once more
// though nothing happens; 0: never.
func (c *controller) consider(
	state membership.State, now time.Time,
) (next *shard.Plan, again time.Duration, err error) {
	state = readable(state)
	view, again := c.damper.view(state, now)
	next, err = c.decide(view)
	if err != nil || staff(view, c.model) < min(c.replicas, staff(state, c.model)) {
		// Without those on probation there is no room, or not for every copy: better they
		// than nobody, and than one that all depends on.
		all := state
		all.Plan = view.Plan
		next, err = c.decide(all)
	}
	if err != nil {
		return nil, again, err
	}
	newest := c.damper.last()
	if next == nil && len(state.Workers) > 0 && view.Plan != nil {
		// The registry lost the plan, or holds one that is older than what was followed.
		plan, err := shard.DecodePlan(view.Plan)
		if err == nil && plan.Model == c.model && (state.Plan == nil || plan.Epoch < newest) {
			next = plan
		}
	}
	if next != nil {
		next.Epoch = max(next.Epoch, newest+1)
	}
	return next, again, nil
}

// readable is a state without a plan that cannot be read: it is replaced like one that is lost.
func readable(state membership.State) membership.State {
	if state.Plan != nil {
		if _, err := shard.DecodePlan(state.Plan); err != nil {
			state.Plan = nil
		}
	}
	return state
}

// staff is how many workers take experts in a state.
func staff(s membership.State, model string) int {
	n := 0
	for _, w := range s.Workers {
		if w.Model == model && !w.Draining {
			n++
		}
	}
	return n
}
