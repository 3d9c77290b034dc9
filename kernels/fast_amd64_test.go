package kernels

import (
	"fmt"
	"testing"
	"time"
)

// forceGeneric runs the plain twin until restore is called.
func forceGeneric() (restore func()) { return force(false, false) }

// forceAVX2 runs without registers of 512 bits until restore is called.
func forceAVX2() (restore func()) { return force(fastPath, false) }

func force(fastNow, wideNow bool) (restore func()) {
	wasFast, wasWide := fastPath, wide
	fastPath, wide = fastNow, wideNow
	return func() { fastPath, wide = wasFast, wasWide }
}

// TestPaths says which paths the other tests could not compare on this processor.
func TestPaths(t *testing.T) {
	has := map[string]bool{}
	onPaths(func(path string) { has[path] = true })
	for _, path := range []string{"generic", "avx2+fma+f16c", "avx512+avx2+fma+f16c"} {
		t.Run(path, func(t *testing.T) {
			if !has[path] {
				t.Skip("this processor has not the instructions: the path is not tested here")
			}
		})
	}
}

// multiplyAdds is a Job that does nothing else, each item many times twelve of a register's.
type multiplyAdds struct{}

const (
	multiplyAddItems = 8
	multiplyAddLoops = 10_000
)

func (multiplyAdds) Do(_, _ int) {
	if wide {
		peakAVX512(multiplyAddLoops)
	} else {
		peakAVX2(multiplyAddLoops)
	}
}

// BenchmarkMultiplyAdd is what BenchmarkMatMul could reach at most.
func BenchmarkMultiplyAdd(b *testing.B) {
	for _, threads := range []int{1, 2} {
		onPaths(func(path string) {
			if fastPath {
				b.Run(fmt.Sprintf("threads=%d/%s", threads, path), func(b *testing.B) {
					benchmarkMultiplyAdd(b, threads)
				})
			}
		})
	}
}

func benchmarkMultiplyAdd(b *testing.B, threads int) {
	pool := NewPool(threads)
	defer pool.Close()
	width := 8
	if wide {
		width = 16
	}
	best := time.Hour
	for b.Loop() {
		start := time.Now()
		pool.Run(multiplyAddItems, multiplyAdds{})
		best = min(best, time.Since(start))
	}
	flops := float64(2 * 12 * width * multiplyAddLoops * multiplyAddItems)
	b.ReportMetric(flops/1e9*float64(b.N)/b.Elapsed().Seconds(), "GFLOP/s")
	b.ReportMetric(flops/1e9/best.Seconds(), "best-GFLOP/s")
}
