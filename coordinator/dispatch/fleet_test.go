package dispatch

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// A worker that is not what the registry says gets no lane, and the log says
// why, once.
func TestImpostersGetNoLane(t *testing.T) {
	for name, c := range map[string]struct {
		change func(f *fakeWorker)
		says   string
	}{
		"another checkpoint": {func(f *fakeWorker) { f.model = "another model" }, "it serves checkpoint another mode"},
		"another worker":     {func(f *fakeWorker) { f.id = "z" }, "worker z answers at this address"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			f := startFake(t, "a")
			claimed := Worker{ID: "a", Incarnation: "1", Addr: f.addr, Ready: ready(0, 1, 2, 3)}
			c.change(f)
			r.d.Update(nil, []Worker{claimed})
			r.awaitLog("lane not open", "worker=a", f.addr, c.says)
			if r.d.Table().Complete() || f.streams.Load() > 0 {
				t.Error("a lane was opened")
			}
		})
	}
}

func TestUnreachableWorkerIsNamed(t *testing.T) {
	r := newRig(t, nil)
	r.d.Update(nil, []Worker{{ID: "gone", Incarnation: "1", Addr: "127.0.0.1:1", Ready: ready(0)}})
	r.awaitLog("lane not open", "worker=gone", "127.0.0.1:1", "refused")
}

// Gossip's suspicion ends a call that would otherwise wait for its timeout.
func TestSuspicionCutsTheLane(t *testing.T) {
	r := newRig(t, nil)
	a, b := startFake(t, "a"), startFake(t, "b")
	taken := make(chan struct{}, 1)
	a.once(hang(taken))
	r.serve(a, 0, 1, 2, 3)
	r.serve(b, 0, 1, 2, 3)
	r.awaitLanes()
	var update sync.WaitGroup
	update.Go(func() {
		<-taken
		suspected := slices.Clone(r.workers)
		suspected[0].Suspect = true
		r.d.Update(nil, suspected)
	})
	r.check()
	update.Wait()
	r.awaitLog("lane broken", "worker=a", errSuspect.Error())
	r.awaitLanes() // it was alive after all
}

// A lane that breaks while nothing is under way is noticed all the same, and
// mends itself when the worker is back.
func TestIdleLaneBreaksAndRecovers(t *testing.T) {
	r := newRig(t, nil)
	a := startFake(t, "a")
	r.serve(a, 0, 1, 2, 3)
	r.awaitLanes()
	a.grpc.Stop()
	r.await("the loss", func(t *router.Table) bool { return !t.Complete() })
	r.awaitLog("lane broken", "worker=a")
	startFakeAt(t, "a", a.addr)
	r.awaitLanes()
	r.check()
}

// A new incarnation replaces the lane; a worker that leaves loses it.
func TestIncarnationsAndDepartures(t *testing.T) {
	r := newRig(t, nil)
	old, fresh := startFake(t, "a"), startFake(t, "a")
	r.serve(old, 0, 1, 2, 3)
	r.awaitLanes()
	r.check()
	r.workers = nil
	r.serve(fresh, 0, 1, 2, 3)
	r.awaitLanes()
	r.check()
	if old.calls.Load() != 1 || fresh.calls.Load() != 1 {
		t.Errorf("calls: old %d, fresh %d", old.calls.Load(), fresh.calls.Load())
	}
	if h := r.d.Hops()["a"]; h.Calls != 2 {
		t.Errorf("hops across incarnations: %+v", h)
	}
	r.d.Update(nil, nil)
	if h := r.d.Hops(); len(h) != 0 || r.d.Table().Complete() {
		t.Errorf("after the departure: hops %v, complete %v", h, r.d.Table().Complete())
	}
}

func planOf(epoch uint64, workers map[shard.WorkerID][]int) *shard.Plan {
	p := &shard.Plan{Epoch: epoch, Model: testModel, Layers: make([][]shard.Set, 2)}
	for id := range workers {
		p.Workers = append(p.Workers, id)
	}
	slices.Sort(p.Workers)
	for _, id := range p.Workers {
		p.Layers[1] = append(p.Layers[1], shard.NewSet(workers[id]...))
	}
	return p
}

// While one micro-batch of a step is routed again by a newer table, the other
// may be at a worker that may drop its experts once that table is announced.
func TestSettledBehindTwoFlights(t *testing.T) {
	heard := make(chan uint64, 9)
	r := newRig(t, func(c *Config) { c.OnSettled = func(epoch uint64) { heard <- epoch } })
	a, b := startFake(t, "a"), startFake(t, "b")
	r.serve(a, 0, 1, 2, 3)
	r.serve(b)
	r.awaitLanes()
	onB := planOf(4, map[shard.WorkerID][]int{"b": {0, 1, 2, 3}})
	r.d.Update(onB, r.workers)
	r.d.Begin()
	a.once(func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
		resp.Status, resp.Message = wire.StatusExpertNotHeld, "moved"
		return nil
	})
	x, c := layer()
	r.d.Send(0, 1, x, c)
	r.d.Send(1, 1, x, c)
	r.workers[1].Ready = ready(0, 1, 2, 3)
	r.d.Update(onB, r.workers)
	for micro := range Flights {
		if len(heard) > 0 {
			t.Fatalf("epoch %d is settled while micro-batch %d is at a", <-heard, micro)
		}
		if err := r.d.Receive(t.Context(), micro, make([]float32, len(x))); err != nil {
			t.Fatal(err)
		}
	}
	if a.calls.Load() != 2 || b.calls.Load() != 1 {
		t.Errorf("calls: a %d, b %d", a.calls.Load(), b.calls.Load())
	}
	r.d.End()
	if epoch := <-heard; epoch != 4 {
		t.Errorf("heard of epoch %d", epoch)
	}
}

// OnSettled hears of an epoch only when its workers serve it and no step in
// flight was routed by an older table, and never of an epoch twice or out of
// order.
func TestSettledEpochs(t *testing.T) {
	var mu sync.Mutex
	var heard []uint64
	r := newRig(t, func(c *Config) {
		c.OnSettled = func(epoch uint64) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, epoch)
		}
	})
	expect := func(when string, want ...uint64) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(heard, want) {
			t.Fatalf("%s: heard %v, want %v", when, heard, want)
		}
	}
	a, b := startFake(t, "a"), startFake(t, "b")
	r.serve(a, 0, 1, 2, 3)
	r.serve(b)
	r.awaitLanes()
	expect("without a plan")

	onA := map[shard.WorkerID][]int{"a": {0, 1, 2, 3}}
	onB := map[shard.WorkerID][]int{"b": {0, 1, 2, 3}}
	r.d.Update(planOf(3, onA), r.workers)
	expect("the plan is what is", 3)
	r.d.Update(planOf(4, onB), r.workers)
	expect("b is not ready", 3)

	r.d.Begin() // by epoch 4, unsettled: routed to a
	x, c := layer()
	if err := r.d.Run(t.Context(), 1, x, c, make([]float32, len(x))); err != nil {
		t.Fatal(err)
	}
	r.workers[1].Ready = ready(0, 1, 2, 3)
	r.d.Update(planOf(4, onB), r.workers)
	expect("a step still uses a", 3)
	if err := r.d.Run(t.Context(), 1, x, c, make([]float32, len(x))); err != nil {
		t.Fatal(err)
	}
	if a.calls.Load() != 2 || b.calls.Load() != 0 {
		t.Errorf("the step changed its table: calls a %d, b %d", a.calls.Load(), b.calls.Load())
	}
	r.d.End()
	expect("the step is over", 3, 4)

	r.d.Update(planOf(5, onB), r.workers)
	r.d.Update(planOf(4, onB), r.workers) // stale news
	r.d.Begin()
	r.d.Update(planOf(6, onB), r.workers)
	expect("a step uses 4", 3, 4, 5)
	b.once(func(dispatchStream, *wire.Request, *wire.Response) error { return errors.New("broken") })
	if err := r.d.Run(t.Context(), 1, x, c, make([]float32, len(x))); err != nil {
		t.Fatal(err)
	}
	r.d.End()
	r.awaitLanes()
	expect("the failure moved the step to 6", 3, 4, 5, 6)
}

// Workers fail, fall silent, are suspected and lose experts at random while
// layers run; every layer that ends gives the same bits.
func TestStorm(t *testing.T) {
	r := newRig(t, nil)
	fakes := []*fakeWorker{startFake(t, "a"), startFake(t, "b"), startFake(t, "c")}
	for _, f := range fakes {
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(7, uint64(f.id[0])))
		f.does(func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
			mu.Lock()
			defer mu.Unlock()
			switch rng.IntN(30) {
			case 0:
				return errors.New("broken")
			case 1:
				resp.ID++
			case 2:
				resp.Status = wire.StatusExpertNotHeld
			case 3:
				resp.Outputs.Reserve(resp.Buffers, 1)
			}
			return nil
		})
		r.serve(f, 0, 1, 2, 3)
	}
	r.awaitLanes()
	stop := make(chan struct{})
	var updates sync.WaitGroup
	updates.Go(func() {
		rng := rand.New(rand.NewPCG(8, 8))
		for epoch := uint64(1); ; epoch++ {
			select {
			case <-stop:
				return
			case <-r.d.Changed():
			}
			workers := slices.Clone(r.workers)
			workers[rng.IntN(3)].Suspect = rng.IntN(4) == 0
			workers[rng.IntN(3)].Ready = ready(rng.IntN(4))
			r.d.Update(planOf(epoch, map[shard.WorkerID][]int{"a": {0, 1}, "b": {1, 2}, "c": {3, 0}}), workers)
		}
	})
	for range 60 {
		r.check()
	}
	close(stop)
	updates.Wait()
}
