package kernels

import (
	"math/rand/v2"
	"testing"
)

// TestMulPacked compares products of packed activations with the definition: odd numbers of tokens,
// tails of columns, every kind of value, and nothing touched behind either end of any memory.
func TestMulPacked(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	for round := range 168 {
		f, kind, before := allFormats[round%len(allFormats)], kinds[round/len(allFormats)%3], round%2 == 0
		n, rows, cols := 1+r.IntN(20), 1+r.IntN(20), 32+r.IntN(200)
		if round%4 == 0 {
			cols += r.IntN(2 * panelCols)
		}
		w := drawMatrix(r, f, rows, cols, kind)
		if round%3 == 0 {
			w = spread(r, w)
		}
		if round%5 == 0 {
			w.Bias = draw(r, rows, kind)
		}
		x := draw(r, n*w.Cols, kind)
		want := make([]float32, n*rows)
		for i := range want {
			want[i] = definition(x, w, i/rows, i%rows)
		}
		bias := w.Bias
		w = guardedMatrix(t, w, before)
		copy(w.Bias, bias)
		if bias == nil {
			w.Bias = nil
		}
		p := Packing{n, w.Cols}
		onPaths(func(path string) {
			packed, got := guardedFloats(t, p.Len(), before), guardedFloats(t, n*rows, before)
			pack(r, p, packed, x)
			MulPacked(got, packed, n, w)
			for i := range want {
				if !sameBits(got[i], want[i]) {
					t.Fatalf("%s %v n=%d [%d,%d]: token %d row %d is %x, want %x", path, f, n, rows, w.Cols,
						i/rows, i%rows, got[i], want[i])
				}
			}
		})
	}
}
