package kernels

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// onPaths runs a benchmark or a test on every path that the processor has, the twin last.
func onPaths(run func(path string)) {
	asItIs := func() (restore func()) { return func() {} }
	last := ""
	for _, force := range []func() func(){asItIs, forceAVX2, forceGeneric} {
		func() {
			defer force()()
			if path := Features(); path != last {
				last = path
				run(path)
			}
		}()
	}
}

// BenchmarkMatMul streams weights that few caches hold (for a few tokens), or reuses them (for many),
// in two experts' shapes. Beside the means it reports the best iteration, which other work on the
// processors disturbs least, and its bytes per second as a part of what reading the same memory and
// doing nothing else reaches, just before, on as many threads. BenchmarkMultiplyAdd has the most that
// a thread could do.
func BenchmarkMatMul(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, f := range append(allFormats, Q8x16, Q4x16, MXFP4x16) {
		for _, shape := range [][2]int{{2048, 7168}, {768, 2048}} {
			all := drawMatrix(r, f, 8*2048*7168/shape[1], shape[1], tame)
			for _, n := range []int{1, 2, 3, 4, 8, 16, 64, 128} {
				for _, threads := range []int{1, 2} {
					onPaths(func(path string) {
						name := fmt.Sprintf("%v/%dx%d/tokens=%d/threads=%d/%s", f, shape[0], shape[1], n, threads, path)
						b.Run(name, func(b *testing.B) { benchmarkMatMul(b, r, all, shape[0], n, threads) })
					})
				}
			}
		}
	}
}

// benchmarkMatMul multiplies by some rows of a matrix, then by the next.
func benchmarkMatMul(b *testing.B, r *rand.Rand, all Matrix, rows, n, threads int) {
	pool := NewPool(threads)
	defer pool.Close()
	x, dst := draw(r, n*all.Cols, tame), make([]float32, n*rows)
	bytes := all.Format.MatrixBytes(rows, all.Cols)
	read := readRate(all.Data, pool)
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	best := time.Hour
	for at := 0; b.Loop(); at += rows {
		if at+rows > all.Rows {
			at = 0
		}
		start := time.Now()
		pool.MatMul(dst, x, n, all.Slice(at, at+rows))
		best = min(best, time.Since(start))
	}
	flops := 2 * float64(rows*all.Cols*n)
	b.ReportMetric(flops/1e9*float64(b.N)/b.Elapsed().Seconds(), "GFLOP/s")
	b.ReportMetric(flops/1e9/best.Seconds(), "best-GFLOP/s")
	b.ReportMetric(best.Seconds()*1e6, "best-µs")
	b.ReportMetric(float64(bytes)/best.Seconds()/read, "of-read")
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
	stored, weights := make([]byte, 2*2048), make([]uint64, 2048)
	cos, sin := make([]float32, 1024), make([]float32, 1024)
	NewRotary(1e4, 2048).Table(77, cos, sin)
	p := Weighing{Low: -100, Top: 10, Inverse: 1, Scale: 1 << 44}
	for name, run := range map[string]func(){
		"RMSNorm":       func() { RMSNorm(dst, x, y, 1e-6) },
		"SwiGLU":        func() { SwiGLU(dst, x, y) },
		"SwiGLUClamped": func() { SwiGLUClamped(dst, x, y, 1.702, 7) },
		"Sigmoid":       func() { copy(dst, x); Sigmoid(dst) },
		"Softmax":       func() { copy(dst, x); Softmax(dst) },
		"DecodeBF16":    func() { Decode(dst, stored, BF16) },
		"DecodeF16":     func() { Decode(dst, stored, F16) },
		"EncodeBF16":    func() { Encode(stored, x, BF16) },
		"Add":           func() { Add(dst, x) },
		"AddBF16":       func() { AddStored(dst, stored, BF16) },
		"RopeHalf":      func() { RopeHalf(dst, cos, sin) },
		"RopeWoven":     func() { RopeInterleaved(dst, cos, sin) },
		"Highest":       func() { Highest(x) },
		"Weigh":         func() { p.Weigh(weights, x) },
	} {
		onPaths(func(path string) {
			b.Run(name+"/"+path, func(b *testing.B) {
				b.SetBytes(4 * 2048)
				b.ReportAllocs()
				for b.Loop() {
					run()
				}
			})
		})
	}
}
