package dispatch

import (
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/conclave-serve/conclave/router"
)

// BenchmarkRoundTrip is one layer of one token that chose four experts of one
// worker: through a lane, and as an echo of the same number of bytes over bare
// TCP.
func BenchmarkRoundTrip(b *testing.B) {
	for _, hidden := range []int{128, 7168} {
		x, out := make([]float32, hidden), make([]float32, hidden)
		c := router.Choice{K: 4, Experts: []uint32{0, 1, 2, 3}, Weights: []float32{.1, .2, .3, .4}}
		there, back := 4*hidden, 4*4*hidden
		b.Run(fmt.Sprintf("lane/hidden=%d", hidden), func(b *testing.B) {
			r := newRig(b, func(c *Config) { c.Hidden = hidden })
			r.serve(startFake(b, "a"), 0, 1, 2, 3)
			r.awaitLanes()
			r.d.Begin()
			defer r.d.End()
			b.SetBytes(int64(there + back))
			b.ReportAllocs()
			for b.Loop() {
				if err := r.d.Run(b.Context(), 1, x, c, out); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("tcp/hidden=%d", hidden), func(b *testing.B) { benchmarkTCP(b, there, back) })
	}
}

func benchmarkTCP(b *testing.B, there, back int) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := lis.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		in, out := make([]byte, there), make([]byte, back)
		for {
			if _, err := io.ReadFull(conn, in); err != nil {
				return
			}
			if _, err := conn.Write(out); err != nil {
				return
			}
		}
	}()
	conn, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	out, in := make([]byte, there), make([]byte, back)
	b.SetBytes(int64(there + back))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(out); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, in); err != nil {
			b.Fatal(err)
		}
	}
	_, _ = conn.Close(), lis.Close()
	<-done
}

// A layer costs what gRPC itself allocates for two messages, however many
// tokens and experts it has: nothing of ours grows with them.
func TestLayerAllocationsDoNotGrow(t *testing.T) {
	per := func(tokens int) float64 {
		r := newRig(t, nil)
		r.serve(startFake(t, "a"), 0, 1, 2, 3)
		r.awaitLanes()
		x := make([]float32, tokens*testHidden)
		out := make([]float32, len(x))
		c := router.Choice{K: 4}
		c.Resize(tokens)
		for i := range c.Experts {
			c.Experts[i], c.Weights[i] = uint32(i%4), 1
		}
		r.d.Begin()
		defer r.d.End()
		run := func() {
			if err := r.d.Run(t.Context(), 1, x, c, out); err != nil {
				t.Fatal(err)
			}
		}
		run()
		run()
		return testing.AllocsPerRun(100, run)
	}
	one, many := per(1), per(50)
	t.Logf("allocations of a layer, both ends: %v with one token, %v with fifty", one, many)
	if many > one+10 {
		t.Errorf("a layer of 50 tokens allocates %v times, one of a single token %v times", many, one)
	}
}
