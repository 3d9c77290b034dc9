package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/conclave-serve/conclave/internal/wire"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testModel   = "fingerprint"
	testHidden  = 4
	testExperts = 4 // of layer 1; layer 0 is dense
	testTimeout = 20 * time.Second
)

// behaviour is what a fake worker does with a request before the honest answer
// in resp is sent. An error ends the stream.
type behaviour func(s conclavev1.ExpertService_DispatchServer, req *wire.Request, resp *wire.Response) error

// errHangUp from a behaviour ends the stream as if all were well.
var errHangUp = errors.New("hang up")

// fakeWorker is an ExpertService on loopback whose expert e answers
// weight * (x + e), and which adds if it is asked to, unless it is old.
type fakeWorker struct {
	conclavev1.UnimplementedExpertServiceServer
	id, model string
	addr      string
	grpc      *grpc.Server
	served    chan error
	calls     atomic.Int64
	streams   atomic.Int64
	sums      atomic.Int64 // answers that were sums
	old       bool
	behave    atomic.Pointer[behaviour]
}

func startFake(t testing.TB, id string) *fakeWorker {
	t.Helper()
	return startFakeAt(t, id, "127.0.0.1:0")
}

func startFakeAt(t testing.TB, id, addr string, more ...grpc.ServerOption) *fakeWorker {
	t.Helper()
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeWorker{id: id, model: testModel, addr: lis.Addr().String(), served: make(chan error, 1)}
	f.grpc = grpc.NewServer(append(wire.ServerOptions(64<<20), more...)...)
	conclavev1.RegisterExpertServiceServer(f.grpc, f)
	go func() { f.served <- f.grpc.Serve(lis) }()
	t.Cleanup(func() {
		f.grpc.Stop()
		<-f.served
	})
	return f
}

// does sets what the worker does from now on.
func (f *fakeWorker) does(b behaviour) { f.behave.Store(&b) }

// once makes the worker do b to its next request only.
func (f *fakeWorker) once(b behaviour) {
	var did atomic.Bool
	f.does(func(s conclavev1.ExpertService_DispatchServer, req *wire.Request, resp *wire.Response) error {
		if did.Swap(true) {
			return nil
		}
		return b(s, req, resp)
	})
}

func (f *fakeWorker) Describe(context.Context, *conclavev1.DescribeRequest) (*conclavev1.DescribeResponse, error) {
	return &conclavev1.DescribeResponse{WorkerId: f.id, Model: f.model}, nil
}

func (f *fakeWorker) Dispatch(stream conclavev1.ExpertService_DispatchServer) error {
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	f.streams.Add(1)
	var req wire.Request
	var buffers wire.Buffers
	resp := wire.Response{Buffers: &buffers}
	var x []float32
	for {
		if err := stream.RecvMsg(&req); err != nil {
			return nil
		}
		f.calls.Add(1)
		resp.Reset()
		resp.ID, resp.Status, resp.Format = req.ID, wire.StatusOK, req.Format
		resp.Received, resp.Started, resp.Finished = 1, 2, 3
		x = f.compute(&req, &resp, &buffers, x)
		if req.Sum && !f.old {
			addUp(&req, &resp)
			f.sums.Add(1)
		}
		if b := f.behave.Load(); b != nil {
			if err := (*b)(stream, &req, &resp); errors.Is(err, errHangUp) {
				return nil
			} else if err != nil {
				return err
			}
		}
		if err := stream.SendMsg(&resp); err != nil {
			return err
		}
	}
}

func (f *fakeWorker) compute(req *wire.Request, resp *wire.Response, b *wire.Buffers, x []float32) []float32 {
	size := req.Format.Size()
	body := req.Activations.Bytes()
	row := len(body) / max(int(req.Tokens), 1)
	hidden := row / size
	if len(x) < hidden {
		x = make([]float32, hidden)
	}
	out := resp.Outputs.Reserve(b, len(req.Rows)*row)
	at := 0
	for i, e := range req.Experts {
		for range req.RowCounts[i] {
			r := int(req.Rows[at])
			req.Format.Decode(x[:hidden], body[r*row:(r+1)*row])
			for j := range hidden {
				x[j] = req.Weights[at] * (x[j] + float32(e))
			}
			req.Format.Encode(out[at*row:(at+1)*row], x[:hidden])
			at++
		}
	}
	return x
}

// addUp makes sums of outputs.
func addUp(req *wire.Request, resp *wire.Response) {
	outputs := resp.Outputs.Bytes()
	row := len(outputs) / len(req.Rows)
	hidden := row / req.Format.Size()
	sums, y := make([]float32, int(req.Tokens)*hidden), make([]float32, hidden)
	for i, token := range req.Rows {
		req.Format.Decode(y, outputs[i*row:(i+1)*row])
		for j, v := range y {
			sums[int(token)*hidden+j] += v
		}
	}
	resp.Summed, resp.Format = true, wire.F32
	wire.F32.Encode(resp.Outputs.Reserve(&wire.Buffers{}, 4*len(sums)), sums)
}

// reference is what a layer of fake experts must return, computed in one
// place.
func reference(f wire.Format, x []float32, c router.Choice, hidden int) []float32 {
	round := func(v []float32) {
		raw := make([]byte, len(v)*f.Size())
		f.Encode(raw, v)
		f.Decode(v, raw)
	}
	out := make([]float32, len(x))
	y := make([]float32, hidden)
	for e := range uint32(testExperts) {
		for i, chosen := range c.Experts {
			if chosen != e {
				continue
			}
			t := i / c.K
			copy(y, x[t*hidden:])
			round(y)
			for j := range y {
				y[j] = c.Weights[i] * (y[j] + float32(e))
			}
			round(y)
			for j, v := range y {
				out[t*hidden+j] += v
			}
		}
	}
	return out
}

// rig is a dispatcher with the log it writes.
type rig struct {
	t       testing.TB
	d       *Dispatcher
	log     *logBook
	workers []Worker
}

// newRig makes a dispatcher over layers of 0 and testExperts experts. change
// may be nil.
func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, log: &logBook{lines: make(chan string, 1000)}}
	cfg := Config{
		Model: testModel, Experts: []int{0, testExperts}, Hidden: testHidden,
		CallTimeout: testTimeout, Patience: testTimeout, MaxMessage: 64 << 20, Log: slog.New(r.log),
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if r.d, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.d.Close)
	return r
}

func ready(experts ...int) []shard.Set { return []shard.Set{{}, shard.NewSet(experts...)} }

// serve tells the dispatcher that f serves the given experts.
func (r *rig) serve(f *fakeWorker, experts ...int) {
	r.t.Helper()
	r.workers = append(r.workers, Worker{
		ID: shard.WorkerID(f.id), Incarnation: f.addr, Addr: f.addr, Ready: ready(experts...),
	})
	r.d.Update(nil, r.workers)
}

// await waits for a table that accept is true of.
func (r *rig) await(what string, accept func(*router.Table) bool) {
	r.t.Helper()
	timeout := time.After(testTimeout)
	for {
		changed := r.d.Changed()
		if accept(r.d.Table()) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			r.t.Fatalf("waiting for %s: %s", what, r.d.Table().Missing())
		}
	}
}

// awaitLanes waits until every worker can be reached.
func (r *rig) awaitLanes() {
	r.t.Helper()
	r.await("lanes to all workers", func(t *router.Table) bool {
		for _, h := range t.Holders {
			if !h.Reachable {
				return false
			}
		}
		return len(t.Holders) == len(r.workers)
	})
}

// layer is a batch of three tokens that together choose every expert. Three
// terms for each token: their sum shows the order in which it was taken.
func layer() ([]float32, router.Choice) {
	x := make([]float32, 3*testHidden)
	for i := range x {
		x[i] = float32(math.Sin(float64(i)))
	}
	return x, router.Choice{
		K: 3, Experts: []uint32{3, 0, 2, 1, 2, 0, 2, 3, 1},
		Weights: []float32{.3, .1, .6, .25, .7, .05, .11, .13, .76},
	}
}

// Run is Send and Receive of one micro-batch.
func (d *Dispatcher) Run(
	ctx context.Context, layer int, x []float32, c router.Choice, out []float32,
) error {
	d.Send(0, layer, x, c)
	return d.Receive(ctx, 0, out)
}

// run runs one step of one layer.
func (r *rig) run(ctx context.Context, x []float32, c router.Choice) ([]float32, error) {
	out := make([]float32, len(x))
	r.d.Begin()
	defer r.d.End()
	return out, r.d.Run(ctx, 1, x, c, out)
}

// check runs the standard layer and compares every bit.
func (r *rig) check() {
	r.t.Helper()
	x, c := layer()
	out, err := r.run(r.t.Context(), x, c)
	if err != nil {
		r.t.Fatal(err)
	}
	for i, want := range reference(r.d.cfg.Format, x, c, testHidden) {
		if math.Float32bits(out[i]) != math.Float32bits(want) {
			r.t.Fatalf("element %d is %v, want %v", i, out[i], want)
		}
	}
}

// logBook is a slog handler that hands out what was logged.
type logBook struct {
	slog.Handler
	lines chan string
}

func (b *logBook) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (b *logBook) Handle(_ context.Context, rec slog.Record) error {
	line := rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	select {
	case b.lines <- line:
	default: // nobody reads
	}
	return nil
}

// awaitLog waits for a line with all of the given words.
func (r *rig) awaitLog(words ...string) {
	r.t.Helper()
	var seen []string
	timeout := time.After(testTimeout)
next:
	for {
		select {
		case line := <-r.log.lines:
			seen = append(seen, line)
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue next
				}
			}
			return
		case <-timeout:
			r.t.Fatalf("nothing logged with %q, but:\n%s", words, strings.Join(seen, "\n"))
		}
	}
}
