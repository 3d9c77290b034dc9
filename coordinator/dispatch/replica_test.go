package dispatch

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
)

// until waits for something that comes by itself.
func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	timeout := time.After(testTimeout)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-timeout:
			r.t.Fatalf("waited %v for %s", testTimeout, what)
		}
	}
}

// holdUp makes a worker take a request and answer it when gate is closed.
func holdUp(gate <-chan struct{}) behaviour {
	return func(s dispatchStream, _ *wire.Request, _ *wire.Response) error {
		select {
		case <-gate:
			return nil
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

// learn lets the dispatcher learn how fast the workers are.
func (r *rig) learn() {
	r.t.Helper()
	for range 30 {
		r.check()
	}
}

// known makes the workers known as ones that take ten times as long as a busy machine
// makes them: then who is late is late by design, and nobody else is.
func (r *rig) known() {
	r.t.Helper()
	r.taking(200 * time.Millisecond)
	r.learn()
}

// taking makes the dispatcher believe that calls of any size have taken so long.
func (r *rig) taking(each time.Duration) {
	for _, l := range r.d.fleet.newest().lanes {
		l.record.mu.Lock()
		for rows := 1; rows <= 256; rows *= 2 {
			for range 128 { // all that is remembered
				l.record.pace.Answered(rows, int64(each))
			}
		}
		l.record.mu.Unlock()
	}
}

// pair is a rig with two workers that hold everything, and are known.
func pair(t *testing.T, hedgeAfter float64) (r *rig, a, b *fakeWorker) {
	t.Helper()
	r = newRig(t, func(c *Config) { c.HedgeAfter = hedgeAfter })
	a, b = startFake(t, "a"), startFake(t, "b")
	r.serve(a, 0, 1, 2, 3)
	r.serve(b, 0, 1, 2, 3)
	r.awaitLanes()
	r.known()
	return r, a, b
}

// A worker that stands still costs one short wait: another gets its call, later
// ones pass it by, and its late answer is dropped without harm to its lane.
func TestFrozenWorkerIsPassedBy(t *testing.T) {
	t.Parallel() // most of it is waiting
	for name, hedge := range map[string]float64{"hedged": 2, "missed": 0} {
		t.Run(name, func(t *testing.T) {
			r, a, b := pair(t, hedge)
			gate := make(chan struct{})
			a.does(holdUp(gate))
			asked, known := a.calls.Load(), r.d.Hops()["a"]
			for range 20 {
				r.check()
			}
			if n := a.calls.Load() - asked; n != 1 {
				t.Errorf("the frozen worker got %d requests, want 1", n)
			}
			h := r.d.Hops()["a"]
			hedges, retries := h.Hedges-known.Hedges, h.Retries-known.Retries
			if hedges+retries != 1 || (hedges == 1) != (hedge > 0) {
				t.Errorf("of its calls %d were hedged, %d sent again", hedges, retries)
			}
			answered := r.d.Hops()["a"].Calls
			close(gate)
			r.until("the late answer", func() bool { return r.d.Hops()["a"].Calls > answered })
			before := a.calls.Load()
			r.check()
			if a.calls.Load() == before {
				t.Error("it is not asked again though it has caught up")
			}
			if a.streams.Load() != 1 || b.streams.Load() != 1 {
				t.Errorf("streams: a %d, b %d, want 1 and 1", a.streams.Load(), b.streams.Load())
			}
		})
	}
}

// Both micro-batches are away when a worker freezes.
func TestBothMicroBatchesAreDoubled(t *testing.T) {
	t.Parallel() // most of it is waiting
	r, a, _ := pair(t, 0)
	gate := make(chan struct{})
	a.does(holdUp(gate))
	before := r.d.Totals().Retries
	x0, c0 := scaled(2)
	x1, c1 := scaled(-3)
	out := make([]float32, len(x0))
	for i := range 3 {
		r.d.Begin()
		r.d.Send(0, 1, x0, c0)
		r.d.Send(1, 1, x1, c1)
		if err := r.d.Receive(t.Context(), 0, out); err != nil {
			t.Fatal(err)
		}
		r.equal(0, x0, c0, out)
		if i == 1 {
			close(gate) // its answers come while others are waited for
		}
		if err := r.d.Receive(t.Context(), 1, out); err != nil {
			t.Fatal(err)
		}
		r.equal(1, x1, c1, out)
		r.d.End()
	}
	if n := r.d.Totals().Retries - before; n != 2 {
		t.Errorf("%d calls were sent again, want 2", n)
	}
	r.check()
}

// Only the call that failed is sent again.
func TestOnlyTheFailedCallIsSentAgain(t *testing.T) {
	for name, do := range map[string]behaviour{
		"broken": func(dispatchStream, *wire.Request, *wire.Response) error { return errors.New("broken") },
		"refused": func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
			resp.Status, resp.Message = wire.StatusExpertNotHeld, "moved"
			resp.Outputs.Reserve(resp.Buffers, 0)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			a, b, c := startFake(t, "a"), startFake(t, "b"), startFake(t, "c")
			r.serve(a, 0, 1)
			r.serve(b, 2, 3)
			r.serve(c, 0, 1)
			r.awaitLanes()
			a.once(do)
			c.once(do) // whichever is asked; the other one does it next time
			r.check()
			r.check()
			if n := b.calls.Load(); n != 2 {
				t.Errorf("a sound worker was asked %d times for two layers", n)
			}
			if n := r.d.Totals().Retries; n < 1 || n > 2 {
				t.Errorf("%d calls were sent again", n)
			}
		})
	}
}

// Experts of one failed call go to several workers, if no single one has all.
func TestFailedCallIsSplit(t *testing.T) {
	r := newRig(t, nil)
	a, b, c := startFake(t, "a"), startFake(t, "b"), startFake(t, "c")
	a.does(func(dispatchStream, *wire.Request, *wire.Response) error { return errors.New("broken") })
	r.serve(a, 0, 1, 2, 3)
	r.serve(b, 0, 1)
	r.serve(c, 2, 3)
	r.awaitLanes()
	for range 5 {
		r.check()
	}
}

// A worker that answers, but late time and again, is left alone for a while.
func TestLateWorkerIsEjected(t *testing.T) {
	t.Parallel() // most of it is waiting
	r, a, _ := pair(t, 0)
	for i := range 3 {
		gate := make(chan struct{})
		a.once(holdUp(gate))
		answered := r.d.Hops()["a"].Calls
		r.check()
		close(gate)
		r.until("the late answer", func() bool { return r.d.Hops()["a"].Calls > answered })
		if h := r.d.Hops()["a"]; h.Ejected != (i == 2) {
			t.Fatalf("after %d late answers: %+v", i+1, h)
		}
	}
	before := a.calls.Load()
	for range 10 {
		r.check()
	}
	if n := a.calls.Load() - before; n != 0 {
		t.Errorf("the ejected worker was asked %d times", n)
	}
	if n := r.d.Totals().Ejections; n != 1 {
		t.Errorf("%d ejections", n)
	}
	// Where there is nobody else, it is asked all the same.
	r.workers = r.workers[:1]
	r.d.Update(nil, r.workers)
	r.check()
	if a.calls.Load() == before {
		t.Error("the layer was answered by nobody")
	}
}

// Without a replica a late worker is waited for.
func TestLateWithoutReplica(t *testing.T) {
	r := newRig(t, func(c *Config) { c.HedgeAfter = 2 })
	a := startFake(t, "a")
	r.serve(a, 0, 1, 2, 3)
	r.awaitLanes()
	r.learn()
	gate := make(chan struct{})
	a.once(holdUp(gate))
	timer := time.AfterFunc(300*time.Millisecond, func() { close(gate) })
	defer timer.Stop()
	r.check()
	if totals := r.d.Totals(); totals.Hedges+totals.Retries != 0 {
		t.Errorf("totals %+v", totals)
	}
	if !r.d.budget.Spend() {
		t.Error("a hedge was spent on nobody")
	}
}

// A worker is late while the other one with its experts owes an answer too: that one is
// asked as soon as it has given it, long before the lane of the first is cut.
func TestLateWhileTheOtherOwes(t *testing.T) {
	t.Parallel() // most of it is waiting
	r := newRig(t, nil)
	a, b := startFake(t, "a"), startFake(t, "b")
	r.serve(a, everything...)
	r.serve(b, everything...)
	r.awaitLanes()
	r.learn()
	gate := make(chan struct{})
	b.does(holdUp(gate))
	x, c := layer()
	asked, answered := b.calls.Load(), r.d.Hops()["a"].Calls
	r.d.Begin()
	r.d.Send(0, 1, x, c) // to both
	r.d.End()
	r.until("a's answer", func() bool { return r.d.Hops()["a"].Calls > answered })
	r.until("b's request", func() bool { return b.calls.Load() > asked })
	a.does(holdUp(nil))
	timer := time.AfterFunc(500*time.Millisecond, func() { close(gate) }) // after a's limit
	defer timer.Stop()
	r.check()
	if h := r.d.Hops()["a"]; h.Failures > 0 {
		t.Errorf("the lane had to be cut: %+v", h)
	}
}

// A worker that leaves too much unanswered gets no more.
func TestCongestedLane(t *testing.T) {
	r, a, b := pair(t, 0)
	gate := make(chan struct{})
	a.does(holdUp(gate))
	x, c := layer()
	asked := a.calls.Load()
	// Only a serves anything, and nobody waits for the answers.
	alone := append([]Worker(nil), r.workers...)
	alone[1].Ready = ready()
	r.d.Update(nil, alone)
	for range 2 * maxCalls {
		r.d.Begin()
		r.d.Send(0, 1, x, c)
		r.d.End()
	}
	r.d.Update(nil, r.workers)
	r.check() // goes to b
	close(gate)
	r.until("all that was sent", func() bool { return a.calls.Load()-asked >= maxCalls })
	if n := a.calls.Load() - asked; n != maxCalls {
		t.Errorf("%d requests went to the worker, want %d", n, maxCalls)
	}
	if a.streams.Load() != 1 || b.streams.Load() != 1 {
		t.Error("a lane was cut")
	}
	r.check()
}

// A worker that stands still while more is on its way to it than fits does not hold
// up the sender for longer than a call may take.
func TestStuckLaneIsCut(t *testing.T) {
	const hidden, window = 1 << 15, 64 << 10
	r := newRig(t, func(c *Config) { c.Hidden = hidden })
	a := startFakeAt(t, "a", "127.0.0.1:0",
		grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(window))
	b := startFake(t, "b")
	r.serve(a, 0)
	r.awaitLanes()
	x, out := make([]float32, 3*hidden), make([]float32, 3*hidden)
	c := router.Choice{K: 1, Experts: []uint32{0, 0, 0}, Weights: []float32{1, 2, 3}}
	run := func() {
		t.Helper()
		r.d.Begin()
		defer r.d.End()
		if err := r.d.Run(t.Context(), 1, x, c, out); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		run()
	}
	a.does(holdUp(nil))
	for range maxCalls { // more than the transport takes
		r.d.Begin()
		r.d.Send(0, 1, x, c)
		r.d.End()
	}
	r.awaitLog("lane broken", "worker=a", errStuck.Error())
	r.workers = nil
	r.serve(b, 0)
	run()
}

// Workers are late at random, beyond all limits, while two micro-batches run in a
// pipeline: no output is lost, taken twice, or another's.
func TestStormOfLateness(t *testing.T) {
	t.Parallel() // most of it is waiting
	r := newRig(t, func(c *Config) { c.HedgeAfter = 1 })
	for _, id := range []string{"a", "b", "c"} {
		f := startFake(t, id)
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(9, uint64(id[0])))
		draws := 0
		f.does(func(s dispatchStream, _ *wire.Request, resp *wire.Response) error {
			mu.Lock()
			defer mu.Unlock()
			if draws++; draws < 60 || rng.IntN(12) > 0 {
				return nil
			}
			if rng.IntN(4) == 0 {
				resp.Status = wire.StatusExpertNotHeld
			}
			select {
			case <-time.After(time.Duration(rng.IntN(160)) * time.Millisecond):
				return nil
			case <-s.Context().Done():
				return s.Context().Err()
			}
		})
		r.serve(f, 0, 1, 2, 3)
	}
	r.awaitLanes()
	r.learn()
	out := make([]float32, 3*testHidden)
	for i := range 100 {
		r.d.Begin()
		x0, c0 := scaled(float32(i + 1))
		x1, c1 := scaled(-float32(i + 1))
		r.d.Send(0, 1, x0, c0)
		r.d.Send(1, 1, x1, c1)
		if i%7 == 6 {
			r.d.End() // nobody wants to know
			continue
		}
		if err := r.d.Receive(t.Context(), 0, out); err != nil {
			t.Fatal(err)
		}
		r.equal(0, x0, c0, out)
		if err := r.d.Receive(t.Context(), 1, out); err != nil {
			t.Fatal(err)
		}
		r.equal(1, x1, c1, out)
		r.d.End()
	}
	totals := r.d.Totals()
	t.Logf("totals %+v", totals)
	if totals.Hedges*20 > totals.Calls {
		t.Errorf("more than one call in twenty was hedged: %+v", totals)
	}
}

// Two of three replicas stand still: the third is asked, though the first call has
// been doubled already, to the other one of the two.
func TestTwoFrozenWorkers(t *testing.T) {
	t.Parallel() // most of it is waiting
	r := newRig(t, nil)
	a, b, c := startFake(t, "a"), startFake(t, "b"), startFake(t, "c")
	for _, f := range []*fakeWorker{a, b, c} {
		r.serve(f, 0, 1, 2, 3)
	}
	r.awaitLanes()
	r.learn()
	gate := make(chan struct{})
	defer close(gate)
	a.does(holdUp(gate))
	b.does(holdUp(gate))
	for range 3 {
		r.check()
	}
	if h := r.d.Hops(); h["a"].Failures+h["b"].Failures > 0 {
		t.Errorf("lanes had to be cut: %+v", h)
	}
}

// The time that calls take is no time in which nobody could be asked: when one
// fails late, the others are asked all the same.
func TestSlowFailureLeavesPatience(t *testing.T) {
	const patience = 300 * time.Millisecond
	r := newRig(t, func(c *Config) { c.Patience = patience })
	a, b := startFake(t, "a"), startFake(t, "b")
	var first sync.Once
	slow := func(s dispatchStream, _ *wire.Request, _ *wire.Response) (err error) {
		first.Do(func() { // whoever comes first fails at once, the other one late
			err = errors.New("broken")
		})
		if err != nil {
			return err
		}
		select {
		case <-time.After(2 * patience):
		case <-s.Context().Done():
		}
		return errors.New("broken late")
	}
	a.once(slow)
	b.once(slow)
	r.serve(a, 0, 1, 2, 3)
	r.serve(b, 0, 1, 2, 3)
	r.awaitLanes()
	r.check()
}

// A worker on trial answers late, after others have been asked and nobody waits
// for it any more: the trial has failed, and there is another one.
func TestTrialThatNobodyWaitsFor(t *testing.T) {
	var r record
	now := int64(time.Second)
	for range 3 {
		r.missed(now)
	}
	now += int64(time.Minute)
	limits := router.Limits{HedgeAfter: 2, Ceiling: int64(time.Second)}
	if _, limit := r.limits(4, now, limits); limit != 0 {
		t.Errorf("it has %v, though nothing is known of it", limit)
	}
	const limit = time.Second
	r.answered(&call{rows: 4, asked: now, limit: limit, span: span{took: 2 * limit}}, 1)
	if _, usable := r.state(now + int64(limit)); usable {
		t.Error("it was late, and is asked again at once")
	}
	if _, usable := r.state(now + int64(time.Hour)); !usable {
		t.Error("it is never asked again")
	}
}
