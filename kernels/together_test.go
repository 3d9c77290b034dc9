package kernels

import (
	"math/rand/v2"
	"testing"
)

// TestMatMulAll compares products that share a job with those that have one each.
func TestMatMulAll(t *testing.T) {
	formats := []Format{F32, BF16, Q8x16, F16, Q4x16}
	r := rand.New(rand.NewPCG(51, 52))
	for _, threads := range []int{1, 3} {
		pool := NewPool(threads)
		defer pool.Close()
		for _, n := range []int{0, 1, 5, 60} {
			for count := range together + 1 {
				const cols = 200
				x := draw(r, n*cols, tame)
				var all []Product
				var want [][]float32
				for i := range count {
					w := drawMatrix(r, formats[(i+n)%len(formats)], r.IntN(300), cols, tame)
					if i%2 == 1 {
						w.Bias = draw(r, w.Rows, tame)
					}
					all = append(all, Product{make([]float32, n*w.Rows), w})
					want = append(want, make([]float32, n*w.Rows))
					pool.MatMul(want[i], x, n, w)
				}
				pool.MatMulAll(x, n, all...)
				for i := range all {
					sameRow(t, "MatMulAll", all[i].Dst, want[i])
				}
			}
		}
		x, w := draw(r, 64, tame), drawMatrix(r, BF16, 300, 64, tame)
		a, b := make([]float32, 300), make([]float32, 300)
		if got := testing.AllocsPerRun(20, func() {
			pool.MatMulAll(x, 1, Product{a, w}, Product{b, w})
		}); got != 0 {
			t.Errorf("%v allocations", got)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("MatMulAll took five products")
		}
	}()
	NewPool(1).MatMulAll(nil, 0, make([]Product, together+1)...)
}
