package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// weather is what a worker does in a storm, by its own dice.
type weather struct {
	mu      sync.Mutex
	rng     *rand.Rand
	hostile bool // it says what nobody else would
	calm    atomic.Bool
}

func (w *weather) draw() (do int, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do = w.rng.IntN(24)
	if !w.hostile && do < 4 {
		do = 23
	}
	// Around the limits of known workers, and now and then far beyond.
	wait = time.Duration(w.rng.IntN(60)) * time.Millisecond
	if w.rng.IntN(8) == 0 {
		wait += 150 * time.Millisecond
	}
	return do, wait
}

func (w *weather) behave(s dispatchStream, _ *wire.Request, resp *wire.Response) error {
	if w.calm.Load() {
		return nil
	}
	const notANumber = 0xff // in all bytes, in either format
	do, wait := w.draw()
	out := resp.Outputs.Bytes()
	switch do {
	case 0:
		resp.Status, resp.Message = wire.StatusInvalid, "I do not like it"
	case 1, 2:
		for i := range out {
			out[i] = notANumber
		}
	case 3:
		for i := range min(len(out), 4) {
			out[len(out)-1-i] = notANumber
		}
	case 4:
		return errors.New("broken")
	case 5:
		return errHangUp
	case 6, 7:
		resp.Status, resp.Message = wire.StatusExpertNotHeld, "moved"
	case 8:
		resp.Status, resp.Message = wire.StatusExpired, "waited for its turn"
	case 9, 10:
		select {
		case <-time.After(wait):
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
	return nil
}

// wantedAtRandom is a random batch: a few tokens as in decoding, or so many that replicas share
// their experts.
func wantedAtRandom(rng *rand.Rand) ([]float32, router.Choice) {
	tokens := 1 + rng.IntN(6)
	if rng.IntN(2) == 0 {
		tokens = 8 + rng.IntN(60)
	}
	c := router.Choice{K: 1 + rng.IntN(testExperts)}
	for range tokens {
		for _, e := range rng.Perm(testExperts)[:c.K] {
			c.Experts = append(c.Experts, uint32(e))
			c.Weights = append(c.Weights, rng.Float32())
		}
	}
	x := make([]float32, tokens*testHidden)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x, c
}

// shuffle tells the dispatcher of ever other tables until stop is closed.
func (r *rig) shuffle(rng *rand.Rand, stop <-chan struct{}) {
	for {
		var some []Worker
		for _, w := range r.workers {
			if rng.IntN(40) == 0 {
				continue
			}
			w.Ready = ready()
			for e := range testExperts {
				if rng.IntN(5) > 0 {
					w.Ready[1].Add(e)
				}
			}
			some = append(some, w)
		}
		r.d.Update(nil, some)
		select {
		case <-time.After(time.Duration(rng.IntN(12)) * time.Millisecond):
		case <-stop:
			return
		}
	}
}

// stormy runs steps of two micro-batches, of which some are given up, and compares every bit
// of what is answered.
func (r *rig) stormy(rng *rand.Rand, steps int) {
	r.t.Helper()
	for range steps {
		ctx, cancel := r.t.Context(), context.CancelFunc(func() {})
		if rng.IntN(10) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(rng.IntN(20))*time.Millisecond)
		}
		r.d.Begin()
		var xs [Flights][]float32
		var cs [Flights]router.Choice
		for micro := range Flights {
			xs[micro], cs[micro] = wantedAtRandom(rng)
			r.d.Send(micro, 1, xs[micro], cs[micro])
		}
		for micro := range Flights {
			if rng.IntN(12) == 0 {
				break // nobody wants to know
			}
			out := make([]float32, len(xs[micro]))
			err := r.d.Receive(ctx, micro, out)
			if err != nil && (ctx.Err() == nil || !errors.Is(err, context.DeadlineExceeded)) {
				r.t.Fatal(err)
			}
			if err == nil {
				r.equal(micro, xs[micro], cs[micro], out)
			}
		}
		r.d.End()
		cancel()
	}
}

// kept holds the books of the lanes: each call that was ever made is idle once, or due.
func (r *rig) kept() {
	r.t.Helper()
	r.until("what is owed", func() bool { return !r.d.fleet.newest().owed() })
	for _, l := range r.d.fleet.newest().lanes {
		l.mu.Lock()
		idle := slices.Clone(l.idle)
		made, due := len(l.calls), len(l.due)
		l.mu.Unlock()
		once := map[*call]bool{}
		for _, c := range idle {
			once[c] = true
		}
		if len(once) != len(idle) || len(idle) != made || due > 0 {
			r.t.Errorf("lane to %s: %d calls, %d idle, of them %d once, %d due",
				l.worker, made, len(idle), len(once), due)
		}
	}
}

// Workers break, refuse, are late and lie, tables change, steps are given up, experts are
// shared by replicas and computed here, all at once: what is answered has the bits of a
// plain sum, and the books of the lanes are right afterwards.
func TestStormOfEverything(t *testing.T) {
	for seed := range uint64(4) {
		for _, c := range []struct {
			name            string
			resort, unsound bool // there is a last resort; it fails sometimes
			hostile         bool // one worker lies
		}{
			{"workers alone", false, false, false},
			{"last resort", true, false, true},
			{"last resort that breaks", true, true, false},
		} {
			t.Run(fmt.Sprint(c.name, "/seed=", seed), func(t *testing.T) {
				t.Parallel() // most of it is waiting
				rng := rand.New(rand.NewPCG(seed, 1))
				l := &resortFake{}
				l.before = func() error {
					<-time.After(time.Millisecond) // workers are as fast
					if c.unsound && rng.IntN(10) == 0 {
						return errors.New("bad weights")
					}
					return nil
				}
				r := newRig(t, func(cfg *Config) {
					cfg.HedgeAfter = float64(seed % 3)
					cfg.Format = []wire.Format{wire.F32, wire.BF16}[seed%2]
					if c.resort {
						cfg.LastResort = l
					}
				})
				var winds []*weather
				for i, id := range []string{"a", "b", "c"} {
					f := startFake(t, id)
					w := &weather{rng: rand.New(rand.NewPCG(seed, uint64(10+i))), hostile: c.hostile && i == 0}
					w.calm.Store(true)
					f.does(w.behave)
					winds = append(winds, w)
					r.serve(f, everything...)
				}
				r.awaitLanes()
				r.learn()
				for _, w := range winds {
					w.calm.Store(false)
				}
				stop, stopped := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(stopped)
					r.shuffle(rand.New(rand.NewPCG(seed, 2)), stop)
				}()
				r.stormy(rng, 60)
				close(stop)
				<-stopped
				for _, w := range winds {
					w.calm.Store(true)
				}
				r.d.Update(nil, r.workers)
				r.awaitLanes()
				r.check()
				r.kept()
				t.Logf("%+v", r.d.Totals())
			})
		}
	}
}

// Two of three replicas that share an expert's rows have broken memory: the third is
// asked.
func TestBrokenReplicasDoNotVouchForEachOther(t *testing.T) {
	r := newRig(t, nil)
	a, b, c := startFake(t, "a"), startFake(t, "b"), startFake(t, "c")
	for _, f := range []*fakeWorker{a, b, c} {
		r.serve(f, everything...)
	}
	r.awaitLanes()
	x, choice := crowd(64)
	a.does(fill(float32(math.NaN())))
	b.does(fill(float32(math.Inf(1))))
	for range 10 {
		out, err := r.run(t.Context(), x, choice)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(out, reference(wire.F32, x, choice, testHidden)) {
			t.Fatal("the sum is another one")
		}
	}
	if a.calls.Load() == 0 || b.calls.Load() == 0 {
		t.Error("a broken worker was never asked")
	}
}

// What one token was given is infinite: that is no reason to believe what a broken worker
// says of others.
func TestInfiniteNeighbour(t *testing.T) {
	r := newRig(t, nil)
	a, b := startFake(t, "a"), startFake(t, "b")
	r.serve(a, everything...)
	r.serve(b, everything...)
	r.awaitLanes()
	a.does(fill(float32(math.NaN())))
	x, c := layer()
	x[0] = float32(math.Inf(1))
	for range 5 {
		out, err := r.run(t.Context(), x, c)
		if err != nil {
			t.Fatal(err)
		}
		if want := reference(wire.F32, x, c, testHidden); !slices.Equal(out[testHidden:], want[testHidden:]) {
			t.Fatal("a token has what a broken worker says")
		}
	}
	if a.calls.Load() == 0 {
		t.Error("the broken worker was never asked")
	}
}

// Where there is a last resort, a worker that repeats itself is not believed, however often
// it is asked.
func TestLastResortIsTheSecondOpinion(t *testing.T) {
	r, l, workers := withResort(t, nil, everything)
	l.before = func() error { // so long that the worker is forgiven meanwhile
		r.until("forgiveness", func() bool { return due(r.d.flights[0].again, time.Now()) })
		return nil
	}
	for name, b := range map[string]behaviour{"not finite": fill(float32(math.NaN())), "invalid": spoilt["invalid"]} {
		workers[0].does(b)
		asked := workers[0].calls.Load()
		r.check()
		if n := workers[0].calls.Load() - asked; n < 2 {
			t.Errorf("%s: it was asked %d times, want more", name, n)
		}
	}
}

// Whoever closes the dispatcher does not wait for what would be computed here.
func TestCloseEndsTheLastResort(t *testing.T) {
	r, l, _ := withResort(t, nil, everything)
	r.d.Update(nil, []Worker{{ID: shard.WorkerID("a"), Incarnation: "gone", Addr: "127.0.0.1:1"}})
	l.before = func() error { r.d.Close(); return nil }
	x, c := layer()
	if _, err := r.run(t.Context(), x, c); !errors.Is(err, ErrClosed) || l.runs.Load() != 1 {
		t.Errorf("%v after %d experts, want %v", err, l.runs.Load(), ErrClosed)
	}
}
