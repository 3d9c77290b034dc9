package kernels

import (
	"fmt"
	"testing"
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
			if !fastPath {
				return
			}
			b.Run(fmt.Sprintf("threads=%d/%s", threads, path), func(b *testing.B) {
				pool := NewPool(threads)
				defer pool.Close()
				perItem := 2 * 12 * 8 * multiplyAddLoops
				if wide {
					perItem *= 2
				}
				for b.Loop() {
					pool.Run(multiplyAddItems, multiplyAdds{})
				}
				flops := float64(multiplyAddItems*perItem) * float64(b.N)
				b.ReportMetric(flops/1e9/b.Elapsed().Seconds(), "GFLOP/s")
			})
		})
	}
}
