package worker

import (
	"context"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-serve/conclave/internal/wire"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

// Whatever a request says, it is answered with what it asked for or refused by a status, and
// nothing outside of it is read.
func FuzzRequest(f *testing.F) {
	s := startServer(f, checkpointDir, 1<<20)
	hidden := s.spec.Hidden
	add := func(r *conclavev1.DispatchRequest) {
		raw, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	good := func() *conclavev1.DispatchRequest {
		return &conclavev1.DispatchRequest{
			Id: 1, Layer: uint32(s.moeLayer()), Format: conclavev1.WireFormat_WIRE_FORMAT_F32, Tokens: 2,
			Experts: []uint32{0, 2}, RowCounts: []uint32{2, 1}, Rows: []uint32{0, 1, 1},
			Weights: []float32{.5, .25, 1}, Activations: make([]byte, 2*4*hidden),
		}
	}
	add(good())
	for _, spoil := range []func(r *conclavev1.DispatchRequest){
		func(r *conclavev1.DispatchRequest) { r.Rows[2] = 1 << 31 },
		func(r *conclavev1.DispatchRequest) { r.RowCounts = []uint32{1<<32 - 1, 4} },
		func(r *conclavev1.DispatchRequest) { r.Tokens, r.Activations = 0, nil },
		func(r *conclavev1.DispatchRequest) { r.Format = conclavev1.WireFormat_WIRE_FORMAT_BF16 },
	} {
		r := good()
		spoil(r)
		add(r)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		l := lane{server: s.Server, buffers: new(wire.Buffers)}
		l.resp.Buffers = l.buffers
		if err := wire.Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(raw)}, &l.req); err != nil {
			return
		}
		l.resp.Received = s.now()
		l.serve(context.Background())
		want := 0
		if l.resp.Status == wire.StatusOK {
			want = len(l.req.Rows) * hidden * l.req.Format.Size()
		} else if l.resp.Message == "" {
			t.Error("refused without a word")
		}
		if got := len(l.resp.Outputs.Bytes()); got != want {
			t.Errorf("%d bytes of outputs with status %d, want %d", got, l.resp.Status, want)
		}
	})
}
