package dispatch

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/router"
)

// A worker that has all of a layer's experts adds what they say; one that knows nothing
// of sums does not, and both are right.
func TestWorkerAdds(t *testing.T) {
	for _, format := range []wire.Format{wire.F32, wire.BF16} {
		for name, old := range map[string]bool{"adds": false, "is old": true} {
			t.Run(format.String()+"/"+name, func(t *testing.T) {
				r := newRig(t, func(c *Config) { c.Format = format })
				a := startFake(t, "a")
				a.old = old
				r.serve(a, 0, 1, 2, 3)
				r.awaitLanes()
				for range 5 {
					r.check()
				}
				if n := a.sums.Load(); n != 5 && !old || n != 0 && old {
					t.Errorf("%d of 5 answers were sums", n)
				}
			})
		}
	}
}

// Where experts are at several workers nobody is asked for sums, and whoever sends some
// loses its lane.
func TestSumsThatNobodyAskedFor(t *testing.T) {
	r := newRig(t, nil)
	a, b, c := startFake(t, "a"), startFake(t, "b"), startFake(t, "c")
	b.once(func(_ dispatchStream, req *wire.Request, resp *wire.Response) error {
		addUp(req, resp)
		return nil
	})
	r.serve(a, 0, 1)
	r.serve(b, 2, 3)
	r.serve(c, 2, 3)
	c.once(func(_ dispatchStream, req *wire.Request, resp *wire.Response) error {
		addUp(req, resp)
		return nil
	})
	r.awaitLanes()
	r.check()
	r.awaitLog("lane broken", "returned sums, for which nobody had asked")
	r.awaitLanes()
	r.check()
	if n := a.sums.Load() + b.sums.Load() + c.sums.Load(); n != 0 {
		t.Errorf("sums were asked for %d times", n)
	}
}

// A worker that is late with its sums is asked beside others that answer for some of the
// experts: whatever comes first, each is added once.
func TestLateSums(t *testing.T) {
	r := newRig(t, func(c *Config) { c.HedgeAfter = 2 })
	a, b := startFake(t, "a"), startFake(t, "b")
	r.serve(a, 0, 1, 2, 3)
	r.serve(b, 0, 1)
	r.awaitLanes()
	r.known()
	x, c := layer()
	for range 3 {
		gate := make(chan struct{})
		a.does(holdUp(gate))
		asked := b.calls.Load()
		done := make(chan error)
		out := make([]float32, len(x))
		r.d.Begin()
		go func() { done <- r.d.Run(t.Context(), 1, x, c, out) }()
		r.until("others are asked", func() bool { return b.calls.Load() > asked })
		close(gate)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		r.d.End()
		r.equal(0, x, c, out)
		a.does(func(dispatchStream, *wire.Request, *wire.Response) error { return nil })
		r.known()
	}
}

// Sums that are not finite are doubted as outputs are: a worker is asked again, unless what
// its experts were given is not finite either.
func TestInfiniteSums(t *testing.T) {
	r := newRig(t, nil)
	a := startFake(t, "a")
	r.serve(a, 0, 1, 2, 3)
	r.awaitLanes()
	a.does(fill(float32(math.Inf(1))))
	x, c := layer()
	for asked, spoil := range map[int64]float32{2: 1, 1: float32(math.Inf(1))} {
		for i := range x {
			x[i] *= spoil
		}
		before := a.sums.Load()
		out, err := r.run(t.Context(), x, c)
		if err != nil || !math.IsInf(float64(out[0]), 1) {
			t.Errorf("infinite sums: %v, %v", out, err)
		}
		if n := a.sums.Load() - before; n != asked {
			t.Errorf("times %v: asked for sums %d times, want %d", spoil, n, asked)
		}
		x, c = layer()
	}
}

// Large answers are added up by all threads, with the same bits.
func TestCombineOnThreads(t *testing.T) {
	const hidden, tokens = 520, 70
	for _, format := range []wire.Format{wire.F32, wire.BF16} {
		pool := kernels.NewPool(3)
		defer pool.Close()
		r := newRig(t, func(c *Config) { c.Hidden, c.Pool, c.Format = hidden, pool, format })
		r.serve(startFake(t, "a"), 0, 2)
		r.serve(startFake(t, "b"), 1, 3)
		r.awaitLanes()
		rng := rand.New(rand.NewPCG(5, 6))
		x, c := make([]float32, tokens*hidden), router.Choice{K: 3}
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		c.Resize(tokens)
		for i := range tokens {
			for k, e := range rng.Perm(testExperts)[:c.K] {
				c.Experts[i*c.K+k], c.Weights[i*c.K+k] = uint32(e), rng.Float32()
			}
		}
		if tokens*c.K*hidden < combineNumbers {
			t.Fatal("the layer is too small")
		}
		out, err := r.run(t.Context(), x, c)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range reference(format, x, c, hidden) {
			if math.Float32bits(out[i]) != math.Float32bits(want) {
				t.Fatalf("%v: element %d is %v, want %v", format, i, out[i], want)
			}
		}
	}
}

// Taking in an answer and adding it up allocates nothing.
func TestAnswersAllocateNothing(t *testing.T) {
	for name, old := range map[string]bool{"sums": false, "outputs": true} {
		r := newRig(t, nil)
		a := startFake(t, "a")
		a.old = old
		r.serve(a, 0, 1, 2, 3)
		r.awaitLanes()
		x, c := layer()
		out := make([]float32, len(x))
		r.d.Begin()
		r.d.Send(0, 1, x, c)
		f := &r.d.flights[0]
		<-f.inbox.wake
		f.inbox.wake <- struct{}{}
		call := f.attempts[0].call
		take := func() {
			if err := r.d.judge(f, f.attempts[0].lane, call.resp, &f.route.Calls[0]); err != nil {
				t.Fatal(err)
			}
			if !old {
				f.summed = 0
			}
			for i := range f.route.Slots {
				f.route.Slots[i].Call = 0
			}
			r.d.combine(f, out)
		}
		take()
		if n := testing.AllocsPerRun(50, take); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		for i := range f.route.Slots {
			f.route.Slots[i].Call = -1
		}
		if err := r.d.Receive(t.Context(), 0, out); err != nil {
			t.Fatal(err)
		}
		r.d.End()
	}
}
