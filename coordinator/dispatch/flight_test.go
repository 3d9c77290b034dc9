package dispatch

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
)

// scaled is the standard layer for another micro-batch.
func scaled(by float32) ([]float32, router.Choice) {
	x, c := layer()
	for i := range x {
		x[i] *= by
	}
	return x, c
}

// equal compares every bit of a micro-batch's outputs.
func (r *rig) equal(micro int, x []float32, c router.Choice, out []float32) {
	r.t.Helper()
	for i, want := range reference(r.d.cfg.Format, x, c, testHidden) {
		if math.Float32bits(out[i]) != math.Float32bits(want) {
			r.t.Fatalf("micro-batch %d, element %d: %v, want %v", micro, i, out[i], want)
		}
	}
}

// Two micro-batches are under way at once, in a pipeline as the forward pass
// runs it, while lanes break, workers refuse and answers are nonsense: neither
// gets the other's answers, and none is lost.
func TestTwoFlights(t *testing.T) {
	r := newRig(t, nil)
	a, b := startFake(t, "a"), startFake(t, "b")
	r.serve(a, 0, 1, 2, 3)
	r.serve(b, 0, 1, 2, 3)
	r.awaitLanes()
	troubles := []behaviour{
		func(dispatchStream, *wire.Request, *wire.Response) error { return errors.New("broken") },
		func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
			resp.Status, resp.Message = wire.StatusExpertNotHeld, "moved"
			return nil
		},
		func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
			resp.Outputs.Reserve(&wire.Buffers{}, 3)
			return nil
		},
	}
	out := make([]float32, 3*testHidden)
	r.d.Begin()
	for i := range 60 {
		if i%5 == 4 {
			[]*fakeWorker{a, b}[i/5%2].once(troubles[i/10%len(troubles)])
		}
		if i == 30 { // a step ends with one on its way, and another one begins
			r.d.Send(1, 1, out, router.Choice{K: 1, Experts: []uint32{0, 1, 2}, Weights: out[:3]})
			r.d.End()
			r.d.Begin()
		}
		x0, c0 := scaled(float32(i + 1))
		x1, c1 := scaled(-float32(i + 1))
		r.d.Send(0, 1, x0, c0)
		r.d.Send(1, 1, x1, c1)
		for micro, m := range []struct {
			x []float32
			c router.Choice
		}{{x0, c0}, {x1, c1}} {
			if err := r.d.Receive(t.Context(), micro, out); err != nil {
				t.Fatal(err)
			}
			r.equal(micro, m.x, m.c, out)
		}
	}
	r.d.End()
	r.check()
}

// An answer that waits to be read stays what it is, however often another
// micro-batch has to ask the same workers again.
func TestAnswerWaits(t *testing.T) {
	r := newRig(t, nil)
	a, b := startFake(t, "a"), startFake(t, "b")
	r.serve(a, 0, 1)
	r.serve(b, 2, 3)
	r.awaitLanes()
	for retries := 1; retries <= 8; retries++ {
		r.wait(b, retries)
	}
}

// wait runs two micro-batches, of which b refuses the first so many times.
func (r *rig) wait(b *fakeWorker, retries int) {
	t := r.t
	t.Helper()
	var asked int // by the first micro-batch, the second, then the first again
	b.does(func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
		if asked++; asked != 2 && asked < 2+retries {
			resp.Status, resp.Message = wire.StatusExpertNotHeld, "moved"
		}
		return nil
	})
	x0, c0 := scaled(2)
	x1, c1 := scaled(3)
	out := make([]float32, 3*testHidden)
	r.d.Begin()
	defer r.d.End()
	r.d.Send(0, 1, x0, c0)
	r.d.Send(1, 1, x1, c1)
	for micro, m := range []struct {
		x []float32
		c router.Choice
	}{{x0, c0}, {x1, c1}} {
		if err := r.d.Receive(t.Context(), micro, out); err != nil {
			t.Fatal(err)
		}
		r.equal(micro, m.x, m.c, out)
	}
}

// A worker has its time for each call: one behind another may take longer, and
// a worker that is slow twice keeps its lane.
func TestTimeOfTwoFlights(t *testing.T) {
	r := newRig(t, nil)
	a := startFake(t, "a")
	r.serve(a, 0, 1, 2, 3)
	r.awaitLanes()
	timeouts, both := make(chan time.Duration, 2), make(chan struct{})
	a.does(func(_ dispatchStream, req *wire.Request, _ *wire.Response) error {
		timeouts <- req.Timeout
		<-both
		return nil
	})
	x, c := layer()
	out := make([]float32, len(x))
	r.d.Begin()
	defer r.d.End()
	r.d.Send(0, 1, x, c)
	r.d.Send(1, 1, x, c)
	close(both)
	for micro := range Flights {
		if err := r.d.Receive(t.Context(), micro, out); err != nil {
			t.Fatal(err)
		}
	}
	if first, second := <-timeouts, <-timeouts; first != testTimeout || second != 2*testTimeout {
		t.Errorf("the calls have %v and %v, want %v for each", first, second, testTimeout)
	}
}

// What a call waits behind the one before it on its lane is queue, not network.
func TestHopsBehindAnother(t *testing.T) {
	var h hopCounters
	h.add(newSpan(&wire.Response{Received: 100, Started: 110, Finished: 140}, 100, 50))
	want := Hops{Calls: 1, Network: 10, Queue: 60, Compute: 30}
	if got := h.snapshot(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	h.add(newSpan(&wire.Response{Received: 100, Started: 100, Finished: 190}, 100, 50))
	want = Hops{Calls: 2, Network: 10, Queue: 70, Compute: 120}
	if got := h.snapshot(); got != want {
		t.Errorf("more than was left: got %+v, want %+v", got, want)
	}
}
