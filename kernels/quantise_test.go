package kernels

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

// quantGolden is what numpy makes of a matrix: see tools/golden/loadtime.py.
type quantGolden struct {
	Rows, Cols int
	Bits       []uint32
	Int8, Int4 struct{ Scales, Quants []int }
}

// quantize returns a matrix in a format.
func quantize(src Matrix, f Format) Matrix {
	dst := Matrix{Format: f, Rows: src.Rows, Cols: src.Cols}
	dst.Data = make([]byte, dst.Rows*f.Bytes(dst.Cols))
	Quantize(dst, src, 0, src.Rows, make([]float32, src.Cols))
	return dst
}

func floatMatrix(rows, cols int, values []float32) Matrix {
	m := Matrix{Format: F32, Rows: rows, Cols: cols}
	for _, v := range values {
		m.Data = binary.LittleEndian.AppendUint32(m.Data, math.Float32bits(v))
	}
	return m
}

// TestQuantizeGoldens compares scales and decoded weights with numpy's.
func TestQuantizeGoldens(t *testing.T) {
	data, err := os.ReadFile("testdata/quants.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []quantGolden
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) < 4 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, c := range cases {
		values := make([]float32, len(c.Bits))
		for i, bits := range c.Bits {
			values[i] = math.Float32frombits(bits)
		}
		src := floatMatrix(c.Rows, c.Cols, values)
		for f, want := range map[Format]struct{ Scales, Quants []int }{Q8: c.Int8, Q4: c.Int4} {
			onPaths(func(path string) {
				got, row := quantize(src, f), make([]float32, c.Cols)
				groups := quantGroups(c.Cols)
				for i := range c.Rows * c.Cols {
					r, col := i/c.Cols, i%c.Cols
					if col == 0 {
						DecodeRow(row, got, r)
					}
					g := r*groups + col/quantGroup
					scale := math.Float32frombits(uint32(want.Scales[g]) << 16)
					w := float32(want.Quants[g*quantGroup+col%quantGroup]) * scale
					if row[col] != w {
						t.Fatalf("%s %v [%d,%d]: %v of %v, want %v", path, f, r, col, row[col], values[i], w)
					}
				}
			})
		}
	}
}

// TestQuantize holds every group to the bounds of its format, whatever the source's format, and has
// the same bytes for rows one by one, and on every path.
func TestQuantize(t *testing.T) {
	r := rand.New(rand.NewPCG(51, 52))
	for round := range 210 {
		from, to := allFormats[round%5], []Format{Q8, Q4}[round%2]
		kind, ordinary := tame, round%4 != 3
		if !ordinary { // squares underflow: the choice of a scale is by order
			kind = tiny
		}
		src := drawMatrix(r, from, 1+r.IntN(9), 1+r.IntN(150), kind)
		if from == MXFP4 {
			for i := range src.Exponents {
				src.Exponents[i] = 100 + byte(r.IntN(50))
			}
		}
		if round%3 == 0 {
			src = spread(r, src)
		}
		dst := quantize(src, to)
		one := quantize(src, to)
		clear(one.Data)
		before, after := make([]float32, src.Cols), make([]float32, src.Cols)
		for i := range src.Rows {
			Quantize(one, src, i, i+1, before)
			DecodeRow(after, dst, i)
			if !ordinary {
				continue
			}
			checkGroups(t, fmt.Sprintf("%v to %v row %d", from, to, i), to, before, after)
		}
		onPaths(func(path string) {
			again := quantize(src, to)
			if string(one.Data) != string(dst.Data) || string(again.Data) != string(dst.Data) {
				t.Fatalf("%s %v to %v: rows one by one, or of another path, are others", path, from, to)
			}
		})
	}
}

// checkGroups bounds the difference of weights by half a step of the least accurate format.
func checkGroups(t *testing.T, name string, f Format, before, after []float32) {
	t.Helper()
	for g := 0; g < len(before); g += quantGroup {
		group := before[g:min(g+quantGroup, len(before))]
		var padded [quantGroup]float32
		copy(padded[:], group)
		most := math.Abs(float64(extreme(&padded)))
		step, square, bound := most/127, 0.0, 0.0
		if f == Q4 {
			step = most / 8
		}
		for i, w := range group {
			d := math.Abs(float64(w) - float64(after[g+i]))
			square += d * d
			bound += step * step // the end of the range that -8 is not at loses a whole step
			if f == Q8 && d > step*0.76 {
				t.Fatalf("%s: %v became %v, step %v", name, w, after[g+i], step)
			}
		}
		if square > bound*1.02 {
			t.Fatalf("%s: group %d differs by %v in squares, at most %v", name, g/quantGroup, square, bound)
		}
	}
}

// TestQuantizeEnds has groups at the ends of what float32 can say.
func TestQuantizeEnds(t *testing.T) {
	for _, f := range []Format{Q8, Q4} {
		for _, v := range []float32{0, 0x1p-149, -0x1p-130, 0x1p-126, 1, 0x1p119, -math.MaxFloat32} {
			values := make([]float32, 40)
			for i := range values {
				values[i] = v
			}
			m := quantize(floatMatrix(1, 40, values), f)
			row := make([]float32, 40)
			DecodeRow(row, m, 0)
			want := min(max(v, -0x1p119), 0x1p119)
			for i, got := range row {
				if d := math.Abs(float64(got - want)); d > 0.01*math.Abs(float64(want))+0x1p-133*8 {
					t.Fatalf("%v: column %d of %v became %v", f, i, v, got)
				}
			}
		}
	}
}

func BenchmarkQuantize(b *testing.B) {
	const rows, cols = 64, 2048
	r := rand.New(rand.NewPCG(1, 2))
	src, row := drawMatrix(r, BF16, rows, cols, tame), make([]float32, cols)
	for _, f := range []Format{Q8, Q4} {
		dst := quantize(src, f)
		b.Run(f.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Quantize(dst, src, 0, rows, row)
			}
			b.ReportMetric(float64(rows*cols*b.N)/1e6/b.Elapsed().Seconds(), "Mweights/s")
		})
	}
}
