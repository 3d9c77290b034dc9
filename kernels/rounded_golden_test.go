package kernels

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// roundedGolden is what numpy makes of a product: see tools/golden/activations.py.
type roundedGolden struct {
	Rows, Cols, Tokens int
	X, Weights         []uint32 // of quantised weights
	Codes, Exponents   []int    // of MXFP4
	Int8, Int4, MXFP4  []uint32
}

func floatsOf(bits []uint32) []float32 {
	out := make([]float32, len(bits))
	for i, b := range bits {
		out[i] = math.Float32frombits(b)
	}
	return out
}

// mxfp4 returns the weights in rows.
func (c *roundedGolden) mxfp4() Matrix {
	m := Matrix{Format: MXFP4, Rows: c.Rows, Cols: c.Cols}
	for i := 0; i < len(c.Codes); i += 2 {
		m.Data = append(m.Data, byte(c.Codes[i]|c.Codes[i+1]<<4))
	}
	for _, e := range c.Exponents {
		m.Exponents = append(m.Exponents, byte(e))
	}
	return m
}

// TestRoundedGoldens compares products with numpy's, bit for bit.
func TestRoundedGoldens(t *testing.T) {
	data, err := os.ReadFile("testdata/rounded.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []roundedGolden
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) < 3 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	pool := NewPool(2)
	defer pool.Close()
	for _, c := range cases {
		for format, want := range map[Format][]uint32{Q8x16: c.Int8, Q4x16: c.Int4, MXFP4x16: c.MXFP4} {
			if want == nil {
				continue
			}
			var w Matrix
			if format == MXFP4x16 {
				w = interleave(c.mxfp4())
			} else {
				w = Matrix{Format: format, Rows: c.Rows, Cols: c.Cols}
				w.Data = make([]byte, format.MatrixBytes(c.Rows, c.Cols))
				src := floatMatrix(c.Rows, c.Cols, floatsOf(c.Weights))
				Quantize(w, src, 0, c.Rows, make([]float32, c.Cols))
			}
			onPaths(func(path string) {
				got := make([]float32, len(want))
				pool.MatMul(got, floatsOf(c.X), c.Tokens, w)
				for i, y := range got {
					if bits := math.Float32bits(y); bits != want[i] {
						t.Fatalf("%s %v: token %d row %d is %x, want %x", path, format, i/c.Rows, i%c.Rows,
							bits, want[i])
					}
				}
			})
		}
	}
}
