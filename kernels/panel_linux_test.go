//go:build amd64 || arm64

package kernels

import (
	"math/rand/v2"
	"testing"
)

// TestPanels multiplies from panels whatever panelPays says, between fences, and compares with the
// definition.
func TestPanels(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for round := range 252 {
		f, kind, before := allFormats[round%len(allFormats)], kinds[round/len(allFormats)%3], round%2 == 0
		n, rows, cols := 1+r.IntN(9), 4+r.IntN(17), 1+r.IntN(150)
		if round%4 == 0 {
			cols += r.IntN(2 * panelCols)
		}
		w := drawMatrix(r, f, rows, cols, kind)
		if round%3 == 0 {
			w = spread(r, w)
		}
		w = guardedMatrix(t, w, before)
		if w.Cols == 0 {
			continue
		}
		x := guardedFloats(t, n*w.Cols, before)
		copy(x, draw(r, len(x), kind))
		w.Bias = nil
		want := make([]float32, n*rows)
		for i := range want {
			want[i] = definition(x, w, i/rows, i%rows)
		}
		onPaths(func(path string) {
			if !fastPath {
				return
			}
			got := guardedFloats(t, n*rows, before)
			whole := mulPanels(got, x, n, &w, 0, rows)
			if whole != rows/tileRows*tileRows {
				t.Fatalf("%d rows of %d are done", whole, rows)
			}
			for i := range want {
				if i%rows < whole && !sameBits(got[i], want[i]) {
					t.Fatalf("%s %v n=%d [%d,%d]: token %d row %d is %x, want %x", path, f, n, rows,
						w.Cols, i/rows, i%rows, got[i], want[i])
				}
			}
		})
	}
}
