package worker

import (
	"math"
	"runtime"
	"testing"

	"github.com/conclave-serve/conclave/kernels"
)

// What the probe finds is a speed; of a tiny model it finds nothing, at no cost.
func TestProbe(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	if b, c := probe(pool, leastProbed-1); b != 0 || c != 0 {
		t.Errorf("a tiny model: %v B/s, %v FLOP/s", b, c)
	}
	b, c := probe(pool, leastProbed)
	if !(b > 0) || !(c > 0) || math.IsInf(b, 0) || math.IsInf(c, 0) {
		t.Errorf("%v B/s, %v FLOP/s", b, c)
	}
	t.Logf("%.3g B/s, %.3g FLOP/s", b, c)
}

// Every weight of the probe's matrix is an ordinary number: zeros and subnormal
// ones may be faster or slower.
func TestProbeMatrix(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	const rows, cols = 300, 2048 // not a whole number of parts
	w := probeMatrix(pool, rows, cols)
	dst, x := make([]float32, rows), make([]float32, cols)
	for _, at := range []int{0, 1, 2047} {
		clear(x)
		x[at] = 1
		pool.MatMul(dst, x, 1, w)
		for r, v := range dst {
			if v < 1 || v >= 2 {
				t.Fatalf("weight [%d, %d] is %v", r, at, v)
			}
		}
	}
}

// BenchmarkProbe is what a worker's start takes longer.
func BenchmarkProbe(b *testing.B) {
	pool := kernels.NewPool(runtime.GOMAXPROCS(0))
	defer pool.Close()
	for b.Loop() {
		bandwidth, compute := probe(pool, 1<<40)
		b.ReportMetric(bandwidth/1e9, "GB/s")
		b.ReportMetric(compute/1e9, "GFLOP/s")
	}
}
