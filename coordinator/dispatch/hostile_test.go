package dispatch

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/conclave-serve/conclave/internal/faultnet"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
)

// fill writes v over the outputs of an answer.
func fill(v float32) behaviour {
	return func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
		out := resp.Outputs.Bytes()
		for i := 0; i < len(out); i += 4 {
			binary.LittleEndian.PutUint32(out[i:], math.Float32bits(v))
		}
		return nil
	}
}

// resize replaces the outputs by n bytes.
func resize(n int) behaviour {
	return func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
		clear(resp.Outputs.Reserve(resp.Buffers, n))
		return nil
	}
}

// spoilt are answers of a worker that is broken or of ill will.
var spoilt = map[string]behaviour{
	"no outputs":           resize(0),
	"one byte":             resize(1),
	"outputs over the max": resize(2 << 20),
	"not a number":         fill(float32(math.NaN())),
	"infinite":             fill(float32(math.Inf(-1))),
	"another id": func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
		resp.ID += 3
		return nil
	},
	"twice": func(s dispatchStream, _ *wire.Request, resp *wire.Response) error {
		again := *resp
		again.Outputs = wire.Payload{}
		copy(again.Outputs.Reserve(resp.Buffers, len(resp.Outputs.Bytes())), resp.Outputs.Bytes())
		return s.SendMsg(&again)
	},
	"without end": func(s dispatchStream, _ *wire.Request, _ *wire.Response) error {
		for {
			if err := s.SendMsg(&wire.Response{Status: wire.StatusOK}); err != nil {
				return err
			}
		}
	},
	"invalid": func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
		resp.Status, resp.Message = wire.StatusInvalid, "\x1b[31mno"
		return nil
	},
	"unknown status": func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
		resp.Status = 1 << 30
		return nil
	},
	"another format": func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
		resp.Format = wire.BF16
		return nil
	},
	"a novel": func(_ dispatchStream, _ *wire.Request, resp *wire.Response) error {
		resp.Status, resp.Message = wire.StatusExpired, strings.Repeat("x", 100<<10)
		return nil
	},
	"endless metadata": func(s dispatchStream, _ *wire.Request, _ *wire.Response) error {
		s.SetTrailer(metadata.Pairs("a", strings.Repeat("x", 1<<20)))
		return errHangUp
	},
}

// Whatever one worker answers, another's answers count: same bits, no request fails.
func TestHostileAnswers(t *testing.T) {
	for name, b := range spoilt {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.MaxMessage = 1 << 20 })
			hostile, honest := startFake(t, "a"), startFake(t, "b")
			r.serve(hostile, 0, 1, 2, 3)
			r.serve(honest, 0, 1, 2, 3)
			r.awaitLanes()
			hostile.does(b)
			for range 20 {
				r.check()
			}
			if hostile.calls.Load() == 0 {
				t.Error("the hostile worker was never asked")
			}
			hostile.does(func(dispatchStream, *wire.Request, *wire.Response) error { return nil })
			r.awaitLanes()
			r.check()
		})
	}
}

// Outputs that are not finite are the model's own if a second answer says so, or if what the
// experts were given is not finite either.
func TestInfiniteModel(t *testing.T) {
	r := newRig(t, nil)
	a, b := startFake(t, "a"), startFake(t, "b")
	for _, f := range []*fakeWorker{a, b} {
		f.does(fill(float32(math.Inf(1))))
		r.serve(f, 0, 1, 2, 3)
	}
	r.awaitLanes()
	x, c := layer()
	isInf := func(out []float32) bool { return math.IsInf(float64(out[0]), 1) }
	if out, err := r.run(t.Context(), x, c); err != nil || !isInf(out) {
		t.Errorf("both say infinite: %v, %v", out, err)
	}
	asked := a.calls.Load() + b.calls.Load()
	for i := range x {
		x[i] = float32(math.Inf(1))
	}
	if out, err := r.run(t.Context(), x, c); err != nil || !isInf(out) {
		t.Errorf("infinite activations: %v, %v", out, err)
	}
	// A layer takes a call, or one of each worker where they share the experts.
	if n := a.calls.Load() + b.calls.Load() - asked; n > 2 {
		t.Errorf("infinite activations were sent %d times", n)
	}
}

// A worker that describes itself without end gets no lane.
func TestEndlessDescription(t *testing.T) {
	r := newRig(t, nil)
	a := startFake(t, "a")
	a.model = strings.Repeat("x", 4<<20)
	r.serve(a, 0, 1, 2, 3)
	r.awaitLog("lane not open", "worker=a", "larger than max")
}

// tap is a relay to a worker that puts bytes of its own between the worker's.
type tap struct {
	lis  net.Listener
	wg   sync.WaitGroup
	mu   sync.Mutex
	open map[net.Conn]bool
	last net.Conn // to the coordinator
}

func startTap(t *testing.T, to string) *tap {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{lis: lis, open: map[net.Conn]bool{}}
	p.wg.Go(func() {
		for {
			in, err := lis.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.open[in], p.open[out], p.last = true, true, in
			p.mu.Unlock()
			p.wg.Go(func() { p.copy(in, out) })
			p.wg.Go(func() { p.copy(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = lis.Close()
		p.mu.Lock()
		for c := range p.open {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

func (p *tap) copy(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
}

// inject writes b to the coordinator. The worker says nothing meanwhile.
func (p *tap) inject(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.last.Write(b)
}

// A worker that announces 4 GiB, the most that gRPC can, or garbage in place of an answer, is
// cut off before memory is taken for it.
func TestAnnouncedSizeCutsTheLane(t *testing.T) {
	r := newRig(t, nil)
	hostile, honest := startFake(t, "a"), startFake(t, "b")
	p := startTap(t, hostile.addr)
	r.workers = append(r.workers, Worker{
		ID: "a", Incarnation: "1", Addr: p.lis.Addr().String(), Ready: ready(0, 1, 2, 3),
	})
	r.serve(honest, 0, 1, 2, 3)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rng := rand.New(rand.NewPCG(3, 4))
	// DATA on stream 3, which is the lane: Describe had 1.
	liar := []byte{0, 0, 6, 0, 0, 0, 0, 0, 3, 0, 0xff, 0xff, 0xff, 0xff, 1}
	for i := range 6 {
		r.awaitLanes()
		r.check()
		lost := r.d.Changed()
		b := liar
		if i > 0 {
			// No peer may wait for the rest of what is broken.
			b = append(faultnet.Spoil(rng, liar), bytes.Repeat([]byte{0xff}, 64)...)
		}
		p.inject(b)
		if i == 0 {
			r.awaitLog("lane broken", "worker=a", "larger than max")
		}
		<-lost
		r.check()
		r.await("the lane to the honest worker", func(t *router.Table) bool { return t.Complete() })
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 64<<20 {
		t.Errorf("memory has grown by %d MiB", grown>>20)
	}
}
