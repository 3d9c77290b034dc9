package dispatch

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
)

// resortFake computes what fake workers do.
type resortFake struct {
	runs, released atomic.Int64
	before         func() error // each run; may be nil
}

func (l *resortFake) Run(
	_ context.Context, _, expert int, x []float32, rows []uint32, weights []float32,
) ([]float32, error) {
	l.runs.Add(1)
	if l.before != nil {
		if err := l.before(); err != nil {
			return nil, err
		}
	}
	var out []float32
	for i, r := range rows {
		for _, v := range x[int(r)*testHidden:][:testHidden] {
			out = append(out, weights[i]*(v+float32(expert)))
		}
	}
	return out, nil
}

func (l *resortFake) Release() { l.released.Add(1) }

// withResort is a rig with a last resort and one worker for each list of experts.
func withResort(t *testing.T, change func(*Config), experts ...[]int) (*rig, *resortFake, []*fakeWorker) {
	t.Helper()
	l := &resortFake{}
	r := newRig(t, func(c *Config) {
		c.LastResort = l
		if change != nil {
			change(c)
		}
	})
	var workers []*fakeWorker
	for i, list := range experts {
		f := startFake(t, string(rune('a'+i)))
		r.serve(f, list...)
		workers = append(workers, f)
	}
	r.awaitLanes()
	return r, l, workers
}

var everything = []int{0, 1, 2, 3}

func TestLastResort(t *testing.T) {
	for _, format := range []wire.Format{wire.F32, wire.BF16} {
		t.Run(format.String(), func(t *testing.T) {
			r, l, _ := withResort(t, func(c *Config) { c.Format = format }, []int{0, 2}, []int{1, 3})
			r.check()
			if l.runs.Load() != 0 || r.d.LastResort() {
				t.Error("it computes though workers do")
			}
			all := r.workers
			r.d.Update(nil, all[:1])
			r.check()
			r.awaitLog("last resort: experts are computed here", "experts 1,3 of layer 1")
			if l.runs.Load() != 2 || !r.d.LastResort() {
				t.Errorf("%d experts computed here, want 2", l.runs.Load())
			}
			r.d.Update(nil, nil) // nobody is left
			r.check()
			if n := r.d.Totals(); n.LastResortExperts != 2+4 || n.LastResortRows != 9+4 {
				t.Errorf("totals %+v", n)
			}
			r.workers = nil
			r.d.Update(nil, all)
			r.workers = all
			r.awaitLanes()
			if r.d.LastResort() {
				t.Error("it still computes, as it says")
			}
			r.check()
			r.awaitLog("last resort is over", "experts=6")
			if l.runs.Load() != 6 || l.released.Load() != 1 {
				t.Errorf("%d runs, %d released", l.runs.Load(), l.released.Load())
			}
		})
	}
}

// Before workers have ever served everything, requests wait for them.
func TestLastResortWaitsForTheFirstWorkers(t *testing.T) {
	r, l, _ := withResort(t, func(c *Config) { c.Patience = 50 * time.Millisecond }, []int{0, 2})
	x, c := layer()
	var lost *UnavailableError
	if _, err := r.run(t.Context(), x, c); !errors.As(err, &lost) {
		t.Errorf("got %v", err)
	}
	if l.runs.Load() != 0 || r.d.LastResort() {
		t.Error("it computes though no worker ever has")
	}
}

// The only worker of an expert stands still: what it owes is computed here after
// its limit, later layers do not wait for it, and once it has answered it is asked
// again. Its late answer does no harm.
func TestLastResortForAFrozenWorker(t *testing.T) {
	t.Parallel() // most of it is waiting
	for name, known := range map[string]bool{"known": true, "just started": false} {
		t.Run(name, func(t *testing.T) {
			r, l, workers := withResort(t, nil, []int{0, 2}, []int{1, 3})
			if known {
				r.known()
			}
			gate := make(chan struct{})
			workers[0].does(holdUp(gate))
			asked := workers[0].calls.Load()
			for range 10 {
				r.check()
			}
			if n := workers[0].calls.Load() - asked; n != 1 {
				t.Errorf("the frozen worker got %d requests, want 1", n)
			}
			if l.runs.Load() != 20 || !r.d.LastResort() {
				t.Errorf("%d experts computed here, want 20", l.runs.Load())
			}
			answered := r.d.Hops()["a"].Calls
			close(gate)
			r.until("the late answer", func() bool { return r.d.Hops()["a"].Calls > answered })
			r.check()
			if workers[0].calls.Load()-asked != 2 || l.runs.Load() != 20 {
				t.Error("it is not asked again though it has caught up")
			}
			if l.released.Load() != 1 || r.d.LastResort() {
				t.Error("the last resort does not end")
			}
		})
	}
}

// A worker whose answer was given up, because another was faster, is not late: what it
// alone serves is asked of it.
func TestGivenUpIsNotLate(t *testing.T) {
	t.Parallel() // most of it is waiting
	r, l, workers := withResort(t, func(c *Config) { c.HedgeAfter = 1 }, everything, []int{0, 1, 2})
	r.known()
	r.taking(time.Second) // a hedge after that, late after four times as long
	asked := workers[0].calls.Load()
	gate := make(chan struct{})
	workers[0].does(holdUp(gate))
	x, _ := layer()
	c := router.Choice{
		K: 3, Experts: []uint32{0, 1, 2, 1, 2, 0, 2, 0, 1}, Weights: []float32{1, 2, 3, 4, 5, 6, 7, 8, 9},
	}
	out, err := r.run(t.Context(), x, c)
	if err != nil || workers[0].calls.Load() == asked || !r.d.fleet.newest().owed() {
		t.Fatalf("%v after %d calls", err, workers[0].calls.Load()-asked)
	}
	x, c = layer()
	r.d.Begin()
	defer r.d.End()
	r.d.Send(0, 1, x, c)
	close(gate)
	if err := r.d.Receive(t.Context(), 0, out); err != nil {
		t.Fatal(err)
	}
	if n := l.runs.Load(); n > 0 {
		t.Errorf("%d experts computed here", n)
	}
}

// A worker that was spared, because it owes an answer, is asked when the last resort turns
// out to be none.
func TestBrokenLastResortSparesNobody(t *testing.T) {
	t.Parallel() // most of it is waiting
	r, l, workers := withResort(t, nil, everything)
	r.learn()
	gate := make(chan struct{})
	workers[0].does(holdUp(gate))
	r.check() // computed here, after the limit
	l.before = func() error {
		close(gate)
		return errors.New("bad weights")
	}
	x, c := layer()
	out := make([]float32, len(x))
	r.d.Begin()
	defer r.d.End()
	r.d.Send(0, 1, x, c)
	if err := r.d.Receive(t.Context(), 0, out); err != nil {
		t.Fatal(err)
	}
	r.equal(0, x, c, out)
}

// A worker comes back while its experts are computed here: the rest is its own.
func TestLastResortEndsAtOnce(t *testing.T) {
	r, l, _ := withResort(t, nil, everything)
	all := r.workers
	r.d.Update(nil, nil)
	l.before = func() error {
		if l.runs.Load() == 2 {
			r.d.Update(nil, all)
			r.awaitLanes()
		}
		return nil
	}
	r.check()
	if n := l.runs.Load(); n != 2 {
		t.Errorf("%d experts computed here, want 2", n)
	}
}

// An answer that comes while others are computed here counts.
func TestAnswerBeatsTheLastResort(t *testing.T) {
	t.Parallel() // most of it is waiting
	r, l, workers := withResort(t, nil, everything)
	r.known()
	gate := make(chan struct{})
	workers[0].once(holdUp(gate))
	answered := r.d.Hops()["a"].Calls
	l.before = func() error {
		if l.runs.Load() == 1 {
			close(gate)
			r.until("the late answer", func() bool { return r.d.Hops()["a"].Calls > answered })
		}
		return nil
	}
	r.check()
	if n := l.runs.Load(); n != 1 {
		t.Errorf("%d experts computed here, want 1", n)
	}
}

// A last resort that cannot read an expert is none; the context of a request ends
// it between experts.
func TestLastResortFails(t *testing.T) {
	r, l, _ := withResort(t, func(c *Config) { c.Patience = 50 * time.Millisecond }, everything)
	r.d.Update(nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	l.before = func() error { cancel(); return nil }
	x, c := layer()
	if _, err := r.run(ctx, x, c); !errors.Is(err, context.Canceled) || l.runs.Load() != 1 {
		t.Errorf("%v after %d experts", err, l.runs.Load())
	}
	broken := errors.New("bad weights")
	l.before = func() error { return broken }
	if _, err := r.run(t.Context(), x, c); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	r.awaitLog("the last resort failed", "bad weights")
	if r.d.LastResort() {
		t.Error("it is said to compute though it cannot")
	}
}

// crowd is a batch in which every token wants experts 0 and 3.
func crowd(tokens int) ([]float32, router.Choice) {
	x := make([]float32, tokens*testHidden)
	c := router.Choice{K: 2}
	for i := range x {
		x[i] = float32(i%97) / 7
	}
	for t := range tokens {
		c.Experts = append(c.Experts, 3, 0)
		c.Weights = append(c.Weights, float32(t+1)/3, float32(t+2)/5)
	}
	return x, c
}

// Replicas share the rows of experts that many tokens want. Their calls fail, are
// refused and late, and nobody else may answer: each row is added once.
func TestSharedExpertsUnderFailures(t *testing.T) {
	t.Parallel() // most of it is waiting
	r, l, workers := withResort(t, func(c *Config) { c.HedgeAfter = 2 }, everything, everything, everything)
	r.known()
	x, c := crowd(64)
	run := func() {
		t.Helper()
		out, err := r.run(t.Context(), x, c)
		if err != nil {
			t.Fatal(err)
		}
		if want := reference(wire.F32, x, c, testHidden); !slices.Equal(out, want) {
			t.Fatal("the sum is another one")
		}
	}
	var before [3]int64
	for i, f := range workers {
		before[i] = f.calls.Load()
	}
	for range 20 {
		run()
	}
	for i, f := range workers {
		if f.calls.Load()-before[i] < 20 {
			t.Errorf("worker %s got %d calls of 20 layers", f.id, f.calls.Load())
		}
	}
	refuse := func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
		resp.Status, resp.Message = wire.StatusExpertNotHeld, "moved"
		return nil
	}
	for i, do := range []behaviour{
		refuse, holdUp(nil),
		func(dispatchStream, *wire.Request, *wire.Response) error { return errors.New("broken") },
	} {
		workers[i].once(do)
		run()
		workers[(i+1)%3].once(refuse)
		workers[(i+2)%3].once(refuse)
		run()
		r.awaitLanes()
	}
	if l.runs.Load() == 0 {
		t.Error("a layer that all refuse is not computed here")
	}
}

// However long a worker stays slow, few calls are doubled before they are late.
func TestHedgesOfASlowWorkerAreBounded(t *testing.T) {
	t.Parallel() // most of it is waiting
	r, a, _ := pair(t, 1)
	r.taking(10 * time.Millisecond)
	slow := 2 * 25 * time.Millisecond // beyond the least hedge, not late
	a.does(func(s dispatchStream, _ *wire.Request, _ *wire.Response) error {
		select {
		case <-time.After(slow):
			return nil
		case <-s.Context().Done():
			return s.Context().Err()
		}
	})
	before := r.d.Totals()
	for range 60 {
		r.check()
		r.until("what it owes", func() bool { return !r.d.fleet.newest().owed() })
	}
	now := r.d.Totals()
	calls, hedges := now.Calls-before.Calls, now.Hedges-before.Hedges
	t.Logf("%d calls, %d hedged", calls, hedges)
	if hedges == 0 || hedges*20 > now.Calls {
		t.Errorf("%d of %d calls were hedged, want some and one in twenty at most", hedges, now.Calls)
	}
}
