package kernels

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// onPaths runs a benchmark or a test on every path that the processor has, the twin last.
func onPaths(run func(name string)) {
	as := func() (restore func()) { return func() {} }
	last := ""
	for _, force := range []func() func(){as, forceAVX2, forceGeneric} {
		func() {
			defer force()()
			if name := Features(); name != last {
				last = name
				run(name)
			}
		}()
	}
}

// BenchmarkMatMul streams weights that no cache holds (for a few tokens), or reuses them (for many),
// in an expert's shape.
func BenchmarkMatMul(b *testing.B) {
	const rows, cols, copies = 2048, 7168, 8
	r := rand.New(rand.NewPCG(1, 2))
	for _, f := range allFormats {
		all := drawMatrix(r, f, rows*copies, cols, tame)
		for _, n := range []int{1, 2, 16, 64} {
			x, dst := draw(r, n*cols, tame), make([]float32, n*rows)
			for _, threads := range []int{1, 2} {
				onPaths(func(path string) {
					b.Run(fmt.Sprintf("%v/tokens=%d/threads=%d/%s", f, n, threads, path), func(b *testing.B) {
						pool := NewPool(threads)
						defer pool.Close()
						b.SetBytes(int64(f.Bytes(rows * cols)))
						b.ReportAllocs()
						for i := 0; b.Loop(); i++ {
							at := i % copies * rows
							pool.MatMul(dst, x, n, all.Slice(at, at+rows))
						}
						flops := 2 * float64(rows*cols*n) * float64(b.N)
						b.ReportMetric(flops/1e9/b.Elapsed().Seconds(), "GFLOP/s")
					})
				})
			}
		}
	}
}

// BenchmarkMulTransposed is one head's query on its way to the space of the latent cache.
func BenchmarkMulTransposed(b *testing.B) {
	const rows, cols = 128, 512
	r := rand.New(rand.NewPCG(1, 2))
	y, dst := draw(r, rows, tame), make([]float32, cols)
	for _, f := range allFormats {
		m := drawMatrix(r, f, rows, cols, tame)
		onPaths(func(path string) {
			b.Run(fmt.Sprintf("%v/%s", f, path), func(b *testing.B) {
				b.SetBytes(int64(f.Bytes(rows * cols)))
				b.ReportAllocs()
				for b.Loop() {
					MulTransposed(dst, y, m)
				}
			})
		})
	}
}

func BenchmarkDot(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{128, 2048} {
		x, y := draw(r, n, tame), draw(r, n, tame)
		onPaths(func(path string) {
			b.Run(fmt.Sprintf("%d/%s", n, path), func(b *testing.B) {
				b.SetBytes(int64(8 * n))
				b.ReportAllocs()
				for b.Loop() {
					Dot(x, y)
				}
			})
		})
	}
}

func BenchmarkRow(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	x, y, dst := draw(r, 2048, tame), draw(r, 2048, tame), make([]float32, 2048)
	stored := make([]byte, 2*2048)
	for name, run := range map[string]func(){
		"RMSNorm":    func() { RMSNorm(dst, x, y, 1e-6) },
		"SwiGLU":     func() { SwiGLU(dst, x, y) },
		"Softmax":    func() { copy(dst, x); Softmax(dst) },
		"DecodeBF16": func() { Decode(dst, stored, BF16) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(4 * 2048)
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}
