package dispatch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/wire"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
	"github.com/conclave-serve/conclave/router"
)

type dispatchStream = conclavev1.ExpertService_DispatchServer

func TestSumOverWorkers(t *testing.T) {
	for _, format := range []wire.Format{wire.F32, wire.BF16} {
		t.Run(format.String(), func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.Format = format })
			a, b, c := startFake(t, "a"), startFake(t, "b"), startFake(t, "c")
			r.serve(a, 0, 2)
			r.serve(b, 1)
			r.serve(c, 3)
			r.awaitLanes()
			for range 5 {
				r.check()
			}
			for id, h := range r.d.Hops() {
				if h.Calls != 5 || h.Failures != 0 || h.Network <= 0 || h.Compute != 5 || h.Queue != 5 {
					t.Errorf("hops of %s: %+v", id, h)
				}
			}
		})
	}
}

func TestNoTokens(t *testing.T) {
	r := newRig(t, nil)
	if out, err := r.run(t.Context(), nil, router.Choice{K: 2}); err != nil || len(out) != 0 {
		t.Errorf("no tokens: %v, %v", out, err)
	}
}

// A worker that fails in the middle of a layer is cut, and another holder
// gives the same bits, whatever the failure was.
func TestBadAnswersAreReroutedToAnotherHolder(t *testing.T) {
	type script = func(s dispatchStream, req *wire.Request, resp *wire.Response) error
	resize := func(resp *wire.Response, by int) {
		n := len(resp.Outputs.Bytes()) + by
		resp.Outputs.Reserve(resp.Buffers, max(n, 0))
	}
	for name, c := range map[string]struct {
		says string
		do   script
	}{
		"dies": {"out of memory", func(dispatchStream, *wire.Request, *wire.Response) error {
			return errors.New("out of memory")
		}},
		"hangs up": {"ended the stream", func(dispatchStream, *wire.Request, *wire.Response) error {
			return errHangUp
		}},
		"short":  {"returned", func(_ dispatchStream, _ *wire.Request, r *wire.Response) error { resize(r, -4); return nil }},
		"long":   {"returned", func(_ dispatchStream, _ *wire.Request, r *wire.Response) error { resize(r, 4); return nil }},
		"empty":  {"returned 0 bytes", func(_ dispatchStream, _ *wire.Request, r *wire.Response) error { resize(r, -1<<20); return nil }},
		"format": {"bf16", func(_ dispatchStream, _ *wire.Request, r *wire.Response) error { r.Format = wire.BF16; return nil }},
		"status": {"unknown status 77", func(_ dispatchStream, _ *wire.Request, r *wire.Response) error { r.Status = 77; return nil }},
		"other id": {"answered request", func(_ dispatchStream, _ *wire.Request, r *wire.Response) error {
			r.ID += 5
			return nil
		}},
		"too large": {"larger than max", func(_ dispatchStream, _ *wire.Request, r *wire.Response) error {
			resize(r, 2<<20)
			return nil
		}},
		"not protobuf": {"wire type", func(s dispatchStream, _ *wire.Request, _ *wire.Response) error {
			return s.SendMsg(&conclavev1.DescribeResponse{WorkerId: "a string where a number belongs"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.MaxMessage = 1 << 20 })
			a, b := startFake(t, "a"), startFake(t, "b")
			a.once(c.do)
			r.serve(a, 0, 1, 2, 3)
			r.serve(b, 0, 1, 2, 3)
			r.awaitLanes()
			r.check()
			r.awaitLog("lane broken", "worker=a", c.says)
			if h := r.d.Hops()["a"]; h.Failures != 1 {
				t.Errorf("hops of a: %+v, want one failure", h)
			}
			r.awaitLanes() // it gets another chance
			r.check()
		})
	}
}

// An answer too many is not taken for the answer to the next request.
func TestUnaskedAnswerCutsTheLane(t *testing.T) {
	r := newRig(t, nil)
	a := startFake(t, "a")
	a.once(func(s dispatchStream, req *wire.Request, _ *wire.Response) error {
		return s.SendMsg(&wire.Response{ID: req.ID, Status: wire.StatusExpertNotHeld})
	})
	r.serve(a, 0, 1, 2, 3)
	r.awaitLanes()
	r.check()
	r.awaitLog("lane broken", "nobody had asked for")
	r.check()
}

// hang makes a worker take a request and never answer it.
func hang(taken chan<- struct{}) func(dispatchStream, *wire.Request, *wire.Response) error {
	return func(s dispatchStream, _ *wire.Request, _ *wire.Response) error {
		taken <- struct{}{}
		<-s.Context().Done()
		return s.Context().Err()
	}
}

// A worker that never answers loses its lane; one that has answered long
// before the timeout keeps it, though its answer was waiting beside.
func TestSilentWorkerIsCutAloneByTheCallTimeout(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CallTimeout = 700 * time.Millisecond })
	silent, replica, prompt := startFake(t, "a"), startFake(t, "b"), startFake(t, "c")
	silent.once(hang(make(chan struct{}, 1)))
	r.serve(silent, 0, 2)
	r.serve(replica, 0, 2)
	r.serve(prompt, 1, 3)
	r.awaitLanes()
	r.check()
	r.awaitLog("lane broken", "worker=a", errLaneTimeout.Error())
	if h := r.d.Hops()["c"]; h.Failures != 0 || h.Calls != 1 {
		t.Errorf("hops of the prompt worker: %+v, want one call and no failure", h)
	}
	if n := prompt.streams.Load(); n != 1 {
		t.Errorf("the prompt worker has seen %d lanes, want 1", n)
	}
}

// A worker whose announced experts are gone is asked again, soon and when the
// table has changed.
func TestRefusalIsRetried(t *testing.T) {
	refuse := func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
		resp.Status, resp.Message = wire.StatusExpertNotHeld, "expert 2 is not held here"
		resp.Outputs.Reserve(resp.Buffers, 0)
		return nil
	}
	t.Run("the same worker accepts later", func(t *testing.T) {
		r := newRig(t, nil)
		a := startFake(t, "a")
		a.once(refuse)
		r.serve(a, 0, 1, 2, 3)
		r.awaitLanes()
		r.check()
		if n := a.streams.Load(); n != 1 {
			t.Errorf("the refusal cost the lane: %d streams", n)
		}
	})
	t.Run("another worker is announced", func(t *testing.T) {
		r := newRig(t, nil)
		a, b := startFake(t, "a"), startFake(t, "b")
		r.serve(a, 0, 1, 2, 3)
		r.serve(b)
		r.awaitLanes()
		a.does(func(s dispatchStream, req *wire.Request, resp *wire.Response) error {
			moved := append([]Worker(nil), r.workers...)
			moved[0].Ready, moved[1].Ready = ready(), ready(0, 1, 2, 3)
			r.d.Update(nil, moved)
			return refuse(s, req, resp)
		})
		r.check()
		if n := b.calls.Load(); n != 1 {
			t.Errorf("b was called %d times", n)
		}
	})
	t.Run("nobody ever accepts", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Patience = 100 * time.Millisecond })
		a := startFake(t, "a")
		a.does(refuse)
		r.serve(a, 0, 1, 2, 3)
		r.awaitLanes()
		x, c := layer()
		_, err := r.run(t.Context(), x, c)
		var lost *UnavailableError
		if !errors.As(err, &lost) || !strings.Contains(err.Error(), "expert 2 is not held here") {
			t.Errorf("got %v", err)
		}
		a.does(func(dispatchStream, *wire.Request, *wire.Response) error { return nil })
		r.check()
	})
}

// What is rejected twice, or by ourselves, is not asked again.
func TestRejectedRequestFails(t *testing.T) {
	x, c := layer()
	t.Run("by the worker", func(t *testing.T) {
		r := newRig(t, nil)
		a := startFake(t, "a")
		a.does(func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
			resp.Status, resp.Message = wire.StatusInvalid, "outputs would take too many bytes"
			return nil
		})
		r.serve(a, 0, 1, 2, 3)
		r.awaitLanes()
		_, err := r.run(t.Context(), x, c)
		if err == nil || !strings.Contains(err.Error(), "worker a rejected: outputs would take too many") {
			t.Errorf("got %v", err)
		}
		if n := a.calls.Load(); n != 2 {
			t.Errorf("it was asked %d times, want 2", n)
		}
		a.does(func(dispatchStream, *wire.Request, *wire.Response) error { return nil })
		r.check()
	})
	t.Run("by our own limit", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxMessage = 100 })
		a := startFake(t, "a")
		r.serve(a, 0, 1, 2, 3)
		r.awaitLanes()
		_, err := r.run(t.Context(), x, c)
		if err == nil || !strings.Contains(err.Error(), "larger than max") {
			t.Errorf("got %v", err)
		}
		var lost *UnavailableError
		if errors.As(err, &lost) {
			t.Errorf("called unavailable: %v", err)
		}
	})
}

func TestLostExperts(t *testing.T) {
	const patience = time.Second
	r := newRig(t, func(c *Config) { c.Patience = patience })
	a := startFake(t, "a")
	r.serve(a, 0, 1)
	r.awaitLanes()
	x, c := layer()
	_, err := r.run(t.Context(), x, c)
	var lost *UnavailableError
	if !errors.As(err, &lost) || !strings.Contains(err.Error(), "experts 2-3 of layer 1") {
		t.Fatalf("got %v", err)
	}

	// The patience is used up, and news that do not mend the loss do not renew
	// it: the next layer does not wait at all, and one that has all it needs is
	// not concerned.
	r.d.Update(nil, r.workers)
	short, cancel := context.WithTimeout(t.Context(), patience*3/4)
	defer cancel()
	if _, err := r.run(short, x, c); !errors.As(err, &lost) {
		t.Errorf("the second call: %v", err)
	}
	served := router.Choice{K: 1, Experts: []uint32{0, 1, 0}, Weights: []float32{1, 2, 3}}
	if _, err := r.run(t.Context(), x, served); err != nil {
		t.Errorf("a layer that misses nothing: %v", err)
	}

	// They come back, and the old loss does not shorten a later patience: a
	// worker that fails once is routed around.
	b, other := startFake(t, "b"), startFake(t, "c")
	b.once(func(dispatchStream, *wire.Request, *wire.Response) error { return errors.New("broken") })
	r.serve(b, 2, 3)
	r.serve(other, 2, 3)
	r.awaitLanes()
	r.check()
}

// A layer that waits goes on as soon as somebody serves what it misses.
func TestLayerWaitsForLostExperts(t *testing.T) {
	r := newRig(t, nil)
	a, b := startFake(t, "a"), startFake(t, "b")
	r.serve(a, 0, 1)
	r.awaitLanes()
	x, c := layer()
	result := make(chan error, 1)
	r.d.Begin()
	go func() { result <- r.d.Run(t.Context(), 1, x, c, make([]float32, len(x))) }()
	r.serve(b, 2, 3)
	if err := <-result; err != nil {
		t.Error(err)
	}
	r.d.End()
}

func TestRunEndsWithItsContext(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CallTimeout = 300 * time.Millisecond })
	a := startFake(t, "a")
	taken := make(chan struct{}, 1)
	a.once(hang(taken))
	r.serve(a, 0, 1, 2, 3)
	r.awaitLanes()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-taken; cancel() }()
	x, c := layer()
	if _, err := r.run(ctx, x, c); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := r.run(ctx, x, c); !errors.Is(err, context.Canceled) {
		t.Errorf("with a dead context: %v", err)
	}
	r.check() // the answer that was not taken disturbs nobody
}

func TestCloseReleasesRun(t *testing.T) {
	for name, experts := range map[string][]int{"in flight": {0, 1, 2, 3}, "waiting": {0}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			a := startFake(t, "a")
			taken := make(chan struct{}, 1)
			a.does(hang(taken))
			r.serve(a, experts...)
			r.awaitLanes()
			x, c := layer()
			result := make(chan error, 1)
			r.d.Begin()
			go func() { result <- r.d.Run(t.Context(), 1, x, c, make([]float32, len(x))) }()
			if name == "in flight" {
				<-taken
			}
			r.d.Close()
			if err := <-result; !errors.Is(err, ErrClosed) {
				t.Errorf("got %v", err)
			}
			r.d.End()
			r.d.Update(nil, r.workers) // comes too late, does nothing
			r.d.Close()
		})
	}
}

func TestNewRefusesNonsense(t *testing.T) {
	for _, cfg := range []Config{{}, {Hidden: -1}, {Hidden: 8, Format: 99}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
