package worker

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

// good is a request that the server must answer: two tokens, two experts.
func (l *testLane) good() *wire.Request {
	x := make([]float32, 2*l.s.spec.Hidden)
	for i := range x {
		x[i] = float32(math.Sin(float64(i)))
	}
	return l.request(l.s.moeLayer(), wire.F32, x, []uint32{0, 2}, []uint32{2, 1}, []uint32{0, 1, 1}, []float32{.5, .25, 1})
}

// Every refusal is typed, says why, and leaves the lane as it was.
func TestRefusals(t *testing.T) {
	const limit = 64 << 10
	s := startServer(t, mixedDir, limit)
	l := s.open(t)
	hidden := s.spec.Hidden
	experts := uint32(s.spec.Experts)
	dense := slices.IndexFunc(s.spec.Layers, func(x model.Layer) bool { return x.MoE == nil })
	if dense < 0 {
		t.Fatal("the checkpoint has no dense layer")
	}
	many := (limit-headBytes)/(4*hidden) + 1 // rows whose outputs are just too large
	for name, c := range map[string]struct {
		spoil  func(r *wire.Request)
		status wire.Status
		says   string
	}{
		"no format":        {func(r *wire.Request) { r.Format = 0 }, wire.StatusInvalid, "wire format 0 is unknown"},
		"unknown format":   {func(r *wire.Request) { r.Format = 9 }, wire.StatusInvalid, "wire format 9 is unknown"},
		"negative format":  {func(r *wire.Request) { r.Format = -1 }, wire.StatusInvalid, "is unknown"},
		"layer beyond":     {func(r *wire.Request) { r.Layer = uint32(len(s.spec.Layers)) }, wire.StatusInvalid, "has no experts"},
		"layer far beyond": {func(r *wire.Request) { r.Layer = math.MaxUint32 }, wire.StatusInvalid, "layer 4294967295 has no experts"},
		"dense layer":      {func(r *wire.Request) { r.Layer = uint32(dense) }, wire.StatusInvalid, "has no experts"},
		"tokens too many":  {func(r *wire.Request) { r.Tokens = 3 }, wire.StatusInvalid, "3 tokens take"},
		"tokens far too many": {func(r *wire.Request) { r.Tokens = math.MaxUint32 }, wire.StatusInvalid,
			"tokens take"},
		"no activations": {func(r *wire.Request) { r.Activations.Reserve(r.Buffers, 0) }, wire.StatusInvalid, "got 0"},
		"short activations": {func(r *wire.Request) { r.Activations.Reserve(r.Buffers, 8*hidden-1) }, wire.StatusInvalid,
			"bytes of activations"},
		"bf16 activations":   {func(r *wire.Request) { r.Format = wire.BF16 }, wire.StatusInvalid, "bytes of activations"},
		"too few row counts": {func(r *wire.Request) { r.RowCounts = r.RowCounts[:1] }, wire.StatusInvalid, "2 experts with 1 row counts"},
		"too few weights":    {func(r *wire.Request) { r.Weights = r.Weights[:1] }, wire.StatusInvalid, "3 rows with 1 weights"},
		"too few rows":       {func(r *wire.Request) { r.RowCounts = []uint32{2, 2} }, wire.StatusInvalid, "add up to 4, there are 3"},
		"too many rows":      {func(r *wire.Request) { r.RowCounts = []uint32{1, 1} }, wire.StatusInvalid, "add up to 2, there are 3"},
		"counts overflow": {func(r *wire.Request) { r.RowCounts = []uint32{math.MaxUint32, 4} }, wire.StatusInvalid,
			"add up to 4294967299"},
		"expert without rows": {func(r *wire.Request) { r.RowCounts = []uint32{3, 0} }, wire.StatusInvalid, "expert 2 has no rows"},
		"row beyond":          {func(r *wire.Request) { r.Rows = []uint32{0, 1, 2} }, wire.StatusInvalid, "rows[2] is 2 of 2 tokens"},
		"row far beyond": {func(r *wire.Request) { r.Rows = []uint32{0, 1, math.MaxUint32} }, wire.StatusInvalid,
			"of 2 tokens"},
		"experts descending": {func(r *wire.Request) { r.Experts = []uint32{2, 0} }, wire.StatusInvalid, "not ascending at index 1"},
		"expert twice":       {func(r *wire.Request) { r.Experts = []uint32{2, 2} }, wire.StatusInvalid, "not ascending at index 1"},
		"expert beyond":      {func(r *wire.Request) { r.Experts = []uint32{0, experts} }, wire.StatusInvalid, "is out of range"},
		"expert far beyond":  {func(r *wire.Request) { r.Experts = []uint32{0, math.MaxUint32} }, wire.StatusInvalid, "is out of range"},
		"expert not held": {func(r *wire.Request) { r.Experts = []uint32{0, experts - 1} }, wire.StatusExpertNotHeld,
			fmt.Sprintf("expert %d of layer %d is not held here", experts-1, s.moeLayer())},
		"outputs too large": {func(r *wire.Request) {
			r.Experts, r.RowCounts = []uint32{0}, []uint32{uint32(many)}
			r.Rows, r.Weights = make([]uint32, many), make([]float32, many)
		}, wire.StatusInvalid, "the limit of messages is"},
	} {
		t.Run(name, func(t *testing.T) {
			r := l.good()
			c.spoil(r)
			resp := l.ask(r)
			if resp.Status != c.status || !strings.Contains(resp.Message, c.says) {
				t.Errorf("status %d, %q; want %d, %q", resp.Status, resp.Message, c.status, c.says)
			}
			if resp.ID != 7 || len(resp.Outputs.Bytes()) > 0 || resp.Started < resp.Received || resp.Finished < resp.Started {
				t.Errorf("refusal %+v", resp)
			}
			if resp := l.ask(l.good()); resp.Status != wire.StatusOK {
				t.Errorf("afterwards: status %d, %q", resp.Status, resp.Message)
			}
		})
	}
	t.Run("outputs just small enough", func(t *testing.T) {
		r := l.good()
		n := many - 1
		r.Experts, r.RowCounts = []uint32{0}, []uint32{uint32(n)}
		r.Rows, r.Weights = make([]uint32, n), make([]float32, n)
		if resp := l.ask(r); resp.Status != wire.StatusOK || len(resp.Outputs.Bytes()) != 4*n*hidden {
			t.Errorf("status %d, %q, %d bytes", resp.Status, resp.Message, len(resp.Outputs.Bytes()))
		}
	})
	t.Run("nothing to do", func(t *testing.T) {
		resp := l.ask(l.request(s.moeLayer(), wire.F32, nil, nil, nil, nil, nil))
		if resp.Status != wire.StatusOK || len(resp.Outputs.Bytes()) != 0 {
			t.Errorf("status %d, %q", resp.Status, resp.Message)
		}
	})
}

// A request whose turn comes after its timeout is not computed any more.
func TestLateRequestIsDropped(t *testing.T) {
	s := startServer(t, checkpointDir, 1<<20)
	l := s.open(t)
	r := l.good()
	r.Timeout = time.Microsecond
	s.compute.Lock() // somebody else's turn
	l.send(r)
	await(t, "the request in the queue", func() bool { return s.Load().Queued == 1 })
	s.compute.Unlock()
	resp := l.receive()
	if resp.Status != wire.StatusExpired || !strings.Contains(resp.Message, "waited") {
		t.Errorf("status %d, %q", resp.Status, resp.Message)
	}
	if resp := l.ask(l.good()); resp.Status != wire.StatusOK {
		t.Errorf("afterwards: status %d, %q", resp.Status, resp.Message)
	}
	if load := s.Load(); load.Calls != 1 || load.Rows != 3 || load.Busy <= 0 || load.Queued != 0 || load.Lanes != 1 {
		t.Errorf("load %+v", load)
	}
}

// Nor is one whose lane was cut while it waited.
func TestRequestOfACutLaneIsDropped(t *testing.T) {
	s := startServer(t, checkpointDir, 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := lane{server: s.Server, req: *s.open(t).good()}
	l.serve(ctx)
	if l.resp.Status != wire.StatusExpired || s.Load().Calls != 0 {
		t.Errorf("status %d, %q; load %+v", l.resp.Status, l.resp.Message, s.Load())
	}
}

// await polls for what no channel tells.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("waiting for %s", what)
		}
	}
}

// Stop returns when no handler computes any more: the weights are unmapped
// next.
func TestStopWaitsForHandlers(t *testing.T) {
	s := startServer(t, checkpointDir, 1<<20)
	l := s.open(t)
	s.compute.Lock()
	l.send(l.good())
	await(t, "the request in the queue", func() bool { return s.Load().Queued == 1 })
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	if err := l.stream.RecvMsg(&wire.Response{}); err == nil {
		t.Error("an answer came from a stopped server")
	}
	select {
	case <-stopped:
		t.Error("Stop returned while a handler was at work")
	case <-time.After(50 * time.Millisecond):
	}
	s.compute.Unlock()
	<-stopped
	if n := s.Load().Lanes; n != 0 {
		t.Errorf("%d lanes after Stop", n)
	}
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string                    { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error)   { return v.([]byte), nil }
func (rawCodec) Unmarshal(b []byte, v any) error { *v.(*[]byte) = bytes.Clone(b); return nil }

// Whatever arrives on the port, other lanes do not notice.
func TestGarbageDoesNoHarm(t *testing.T) {
	s := startServer(t, checkpointDir, 1<<20)
	l := s.open(t)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 20 {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		var b []byte
		if i%2 == 0 {
			b = append(b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"...)
		}
		for range rng.IntN(500) {
			b = append(b, byte(rng.Uint32()))
		}
		_, _ = conn.Write(b) // the server may have hung up
		_ = conn.Close()
	}
	valid := l.good()
	encoded, err := wire.Codec().Marshal(valid)
	if err != nil {
		t.Fatal(err)
	}
	message := encoded.Materialize()
	encoded.Free()
	for i := range 60 {
		garbled := bytes.Clone(message)
		for range 1 + rng.IntN(8) {
			garbled[rng.IntN(min(len(garbled), 60))] = byte(rng.Uint32())
		}
		if i%3 == 0 {
			garbled = garbled[:rng.IntN(len(garbled))]
		}
		stream, err := s.dial(t).Dispatch(t.Context(), grpc.ForceCodec(rawCodec{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.(grpc.ClientStream).SendMsg(garbled); err != nil {
			t.Fatal(err)
		}
		var answer []byte
		_ = stream.(grpc.ClientStream).RecvMsg(&answer) // a refusal or the end of the stream
		if err := stream.CloseSend(); err != nil {
			t.Error(err)
		}
	}
	if resp := l.ask(l.good()); resp.Status != wire.StatusOK {
		t.Errorf("afterwards: status %d, %q", resp.Status, resp.Message)
	}
	await(t, "the other lanes to end", func() bool { return s.Load().Lanes == 1 })
}

func TestDescribe(t *testing.T) {
	s := startServer(t, mixedDir, 1<<20)
	is, err := s.dial(t).Describe(t.Context(), &conclavev1.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if is.GetWorkerId() != "w" || is.GetIncarnation() != "1" || is.GetModel() != "m" {
		t.Errorf("it is %v", is)
	}
	for l, layer := range s.spec.Layers {
		want := ""
		if layer.MoE != nil {
			want = fmt.Sprintf("0-%d", s.spec.Experts-2)
		}
		if got := is.GetReady()[l]; got != want {
			t.Errorf("layer %d is ready for %q, want %q", l, got, want)
		}
	}
}

// Outputs equal the plain definition bit for bit, whatever else is in the
// request and on other lanes.
func TestOutputsDependOnTheirRowAlone(t *testing.T) {
	for _, dir := range []string{checkpointDir, mixedDir} {
		s := startServer(t, dir, 1<<20)
		layer := s.moeLayer()
		const lanes = 3
		var all sync.WaitGroup
		for i := range lanes {
			l := s.open(t)
			rng := rand.New(rand.NewPCG(3, uint64(i)))
			all.Go(func() {
				for range 15 {
					checkRandomRequest(t, l, layer, rng)
				}
			})
		}
		all.Wait()
	}
}

func checkRandomRequest(t *testing.T, l *testLane, layer int, rng *rand.Rand) {
	hidden := l.s.spec.Hidden
	tokens := 1 + rng.IntN(9)
	format := []wire.Format{wire.F32, wire.BF16}[rng.IntN(2)]
	x := make([]float32, tokens*hidden)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	var experts, counts, rows []uint32
	var weights []float32
	for e := range l.s.spec.Experts - 1 {
		n := rng.IntN(tokens + 1)
		if n == 0 {
			continue
		}
		chosen := rng.Perm(tokens)[:n]
		slices.Sort(chosen)
		experts, counts = append(experts, uint32(e)), append(counts, uint32(n))
		for _, row := range chosen {
			rows, weights = append(rows, uint32(row)), append(weights, rng.Float32())
		}
	}
	resp := &wire.Response{}
	req := l.request(layer, format, x, experts, counts, rows, weights)
	req.Sum = rng.IntN(2) == 0
	if err := l.stream.SendMsg(req); err != nil {
		t.Error(err)
		return
	}
	err := l.stream.RecvMsg(resp)
	if err != nil || resp.Status != wire.StatusOK || resp.Summed != req.Sum {
		t.Errorf("status %d, %q, %v", resp.Status, resp.Message, err)
		return
	}
	if req.Sum {
		checkSums(t, l, req, x, resp)
		return
	}
	if resp.Format != format {
		t.Errorf("outputs in %v", resp.Format)
	}
	at, width := 0, hidden*format.Size()
	out := resp.Outputs.Bytes()
	for i, e := range experts {
		for range counts[i] {
			row := x[int(rows[at])*hidden:][:hidden]
			want := twin(l.s.store.Expert(layer, int(e)), format, row, weights[at])
			if got := out[at*width : (at+1)*width]; !bytes.Equal(got, want) {
				t.Errorf("expert %d, row %d of %d tokens: got % x…, want % x…", e, rows[at], tokens, got[:8], want[:8])
				return
			}
			at++
		}
	}
	if len(out) != at*width {
		t.Errorf("%d bytes, want %d", len(out), at*width)
	}
}

// checkSums compares sums with those of the twin's outputs.
func checkSums(t *testing.T, l *testLane, req *wire.Request, x []float32, resp *wire.Response) {
	hidden := l.s.spec.Hidden
	want, y := make([]float32, len(x)), make([]float32, hidden)
	at := 0
	for i, e := range req.Experts {
		for range req.RowCounts[i] {
			row := int(req.Rows[at])
			expert := l.s.store.Expert(int(req.Layer), int(e))
			req.Format.Decode(y, twin(expert, req.Format, x[row*hidden:][:hidden], req.Weights[at]))
			for j, v := range y {
				want[row*hidden+j] += v
			}
			at++
		}
	}
	raw := make([]byte, 4*len(want))
	wire.F32.Encode(raw, want)
	if resp.Format != wire.F32 || !bytes.Equal(resp.Outputs.Bytes(), raw) {
		t.Errorf("sums of %d tokens in %v are not those of the outputs", req.Tokens, resp.Format)
	}
}

// The arithmetic of a request allocates nothing once its memory is there.
func TestWorkAllocatesNothing(t *testing.T) {
	s := startServer(t, checkpointDir, 1<<20)
	l := s.open(t)
	r := l.good()
	pool := kernels.NewPool(1)
	defer pool.Close()
	var w work
	out := make([]byte, len(r.Rows)*s.spec.Hidden*4)
	run := func() {
		if w.gather(s.store, r) >= 0 {
			t.Fatal("an expert is missing")
		}
		w.run(pool, s.spec, r, out)
	}
	for _, r.Sum = range []bool{false, true} {
		run()
		if n := testing.AllocsPerRun(20, run); n != 0 {
			t.Errorf("a request allocates %v times (sums: %v)", n, r.Sum)
		}
	}
}
