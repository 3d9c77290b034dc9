package kernels

import (
	"math"
	"math/rand/v2"
	"testing"
)

// interleavedFormats are those of rows, and what they become.
var interleavedFormats = map[Format]Format{Q8: Q8x16, Q4: Q4x16, MXFP4: MXFP4x16}

// interleave returns a matrix in the interleaved format of its quants.
func interleave(m Matrix) Matrix {
	to := interleavedFormats[m.Format]
	dst := Matrix{Format: to, Rows: m.Rows, Cols: m.Cols, Bias: m.Bias,
		Data: make([]byte, to.MatrixBytes(m.Rows, m.Cols))}
	for i := range dst.Data {
		dst.Data[i] = byte(37 * i) // what is beyond the matrix does not matter
	}
	Interleave(dst, m, 0, m.Rows)
	return dst
}

// roundedDefinition is what a product with rounded activations must equal, by the definition of
// MulRounded, of a matrix in rows.
func roundedDefinition(x []float32, w Matrix, row int) float32 {
	acc := float32(0)
	for g := range (w.Cols + 31) / 32 {
		group := x[g*32 : min(g*32+32, w.Cols)]
		most := 0.0
		for _, v := range group {
			most = math.Max(most, math.Abs(float64(v))) // NaN, if one is
		}
		scale, factor := float32(most)/127, 127/float32(most)
		if most < 0x1p-100 {
			scale, factor = 0, 0
		}
		if !(most <= math.MaxFloat32) {
			scale, factor = float32(math.NaN()), 0
		}
		sum := 0
		for i, v := range group {
			if factor != 0 {
				sum += int(math.RoundToEven(float64(float32(v*factor)))) * quantOf(w, row, g, i)
			}
		}
		acc = exactFMA(float32(sum), scale*scaleOf(w, row, g), acc)
	}
	if w.Bias != nil {
		return acc + w.Bias[row]
	}
	return acc
}

// quantOf returns an integer that a weight is a multiple of.
func quantOf(w Matrix, row, g, i int) int {
	data := w.Data[row*w.stride():]
	switch w.Format {
	case Q8:
		return int(int8(data[32*g+i]))
	case Q4:
		return int(data[16*g+i%16]>>(i/16*4)&15) - 8
	}
	code := int(data[16*g+i/2] >> (i % 2 * 4) & 15)
	return []int{0, 1, 2, 3, 4, 6, 8, 12}[code&7] * (1 - code/8*2)
}

// scaleOf returns what it is multiplied by.
func scaleOf(w Matrix, row, g int) float32 {
	if w.Format == MXFP4 {
		if w.exponents(row)[g] == 0xff {
			return float32(math.NaN())
		}
		return float32(math.Ldexp(1, int(w.exponents(row)[g])-128))
	}
	groups := (w.Cols + 31) / 32
	bits := w.Data[row*w.stride()+groups*map[Format]int{Q8: 32, Q4: 16}[w.Format]+2*g:]
	return math.Float32frombits(uint32(bits[0])<<16 | uint32(bits[1])<<24)
}

// drawActivations draws some rows that are ordinary, and some of which groups are of a kind.
func drawActivations(r *rand.Rand, n, cols int, kind func(*rand.Rand) float32) []float32 {
	x := draw(r, n*cols, tame)
	for range n * cols / 100 {
		at := r.IntN(len(x))
		for i := range min(32, len(x)-at) {
			x[at+i] = kind(r)
		}
	}
	return x
}

// TestRounded compares every path with the definition, bit for bit, over random shapes with tails,
// rows apart, misaligned weights and values of every kind.
func TestRounded(t *testing.T) {
	r := rand.New(rand.NewPCG(61, 62))
	pool := NewPool(3)
	defer pool.Close()
	formats := []Format{Q8, Q4, MXFP4}
	for round := range 400 {
		f, kind := formats[round%3], kinds[round/3%3]
		n, rows, cols := r.IntN(22), r.IntN(50), r.IntN(300)
		if round%5 == 0 {
			cols += r.IntN(1000)
		}
		w := drawMatrix(r, f, rows, cols, kind)
		if round%4 == 0 {
			w = spread(r, w)
		}
		if round%3 == 0 {
			w.Bias = draw(r, rows, tame)
		}
		x := drawActivations(r, n, w.Cols, kinds[round/6%3])
		checkRounded(t, pool, x, n, w, r.IntN(8))
	}
	for _, shape := range [][3]int{{1, 768, 256}, {50, 40, 768}, {97, 20, 992}, {64, 130, 33}, {9, 17, 2065}} {
		for _, f := range formats {
			n, rows, cols := shape[0], shape[1], shape[2]
			w := drawMatrix(r, f, rows, cols, tame)
			checkRounded(t, pool, draw(r, n*w.Cols, tame), n, w, 0)
		}
	}
}

// checkRounded multiplies by a matrix of rows after it was interleaved, by its first rows, by those
// after the first band, and by tokens from the second on.
func checkRounded(t *testing.T, pool *Pool, x []float32, n int, w Matrix, misalign int) {
	t.Helper()
	want := make([]float32, n*w.Rows)
	for i := range want {
		want[i] = roundedDefinition(x[i/w.Rows*w.Cols:][:w.Cols], w, i%w.Rows)
	}
	all := interleave(w)
	all.Data = misaligned(all.Data, misalign)
	same := func(path string, got []float32, rows, from, tokens, first int) {
		t.Helper()
		for i, y := range got {
			if v := want[(first+i/rows)*w.Rows+from+i%rows]; !sameBits(y, v) {
				t.Fatalf("%s %v n=%d [%d,%d]: token %d row %d is %x, want %x", path, w.Format, n, w.Rows,
					w.Cols, first+i/rows, from+i%rows, y, v)
			}
		}
	}
	onPaths(func(path string) {
		got := make([]float32, len(want))
		pool.MatMul(got, x, n, all)
		same(path, got, max(w.Rows, 1), 0, n, 0)
		var rounded Rounded
		rounded.Reserve(n, w.Cols)
		for i := range n {
			rounded.Round(i, x[i*w.Cols:(i+1)*w.Cols])
		}
		if n > 1 && w.Rows > 0 {
			got = make([]float32, (n-1)*w.Rows)
			MulRounded(got, &rounded, 1, n-1, all, &w)
			same(path, got, w.Rows, 0, n-1, 1)
		}
		if rest := w.Rows - bandRows; rest > 0 {
			got = make([]float32, n*rest)
			MulRounded(got, &rounded, 0, n, all.Slice(bandRows, w.Rows), nil)
			same(path, got, rest, bandRows, n, 0)
		}
	})
}

// TestInterleaved decodes rows, and quantises into interleaved formats: the weights are those of the
// formats in rows.
func TestInterleaved(t *testing.T) {
	r := rand.New(rand.NewPCG(69, 70))
	for f, to := range interleavedFormats {
		for range 30 {
			w := drawMatrix(r, f, 1+r.IntN(40), 32*(1+r.IntN(6)), tame)
			if f != MXFP4 {
				w = drawMatrix(r, f, 1+r.IntN(40), 1+r.IntN(200), tame)
			}
			checkSameRows(t, interleave(w), w)
			if f == MXFP4 {
				continue
			}
			src := drawMatrix(r, BF16, w.Rows, w.Cols, tame)
			dst := Matrix{Format: to, Rows: w.Rows, Cols: w.Cols, Data: make([]byte, to.MatrixBytes(w.Rows, w.Cols))}
			Quantize(dst, src, 0, src.Rows, make([]float32, src.Cols))
			checkSameRows(t, dst, quantize(src, f))
		}
	}
}

func checkSameRows(t *testing.T, got, want Matrix) {
	t.Helper()
	a, b := make([]float32, got.Cols), make([]float32, got.Cols)
	for i := range got.Rows {
		DecodeRow(a, got, i)
		DecodeRow(b, want, i)
		for c := range a {
			if a[c] != b[c] {
				t.Fatalf("%v [%d,%d]: row %d column %d is %v, want %v", got.Format, got.Rows, got.Cols, i, c, a[c], b[c])
			}
		}
	}
}

// TestRoundedExtremes has sums within a group as great as can be, and the ends of what rounds.
func TestRoundedExtremes(t *testing.T) {
	const cols = 640
	pool := NewPool(1)
	defer pool.Close()
	for f := range interleavedFormats {
		for _, quant := range []byte{0x80, 0x7f, 0, 0xff, 0x77} {
			for _, v := range []float32{1, -1, 0x1p-99, -0x1p-100, 0x1p-101, math.MaxFloat32, 0} {
				w := Matrix{Format: f, Rows: 3, Cols: cols}
				for range w.Rows {
					size := cols / 2
					if f == Q8 {
						size = cols
					}
					for range size {
						w.Data = append(w.Data, quant)
					}
					for range cols / 32 {
						if f == MXFP4 {
							w.Exponents = append(w.Exponents, 127)
						} else {
							w.Data = append(w.Data, 0x80, 0x3f)
						}
					}
				}
				x := make([]float32, 9*cols)
				for i := range x {
					x[i] = v
				}
				checkRounded(t, pool, x, 9, w, 0)
			}
		}
	}
}

// TestRoundedNotFinite has a NaN or an infinity make all of its token NaN, and no other.
func TestRoundedNotFinite(t *testing.T) {
	r := rand.New(rand.NewPCG(63, 64))
	pool := NewPool(2)
	defer pool.Close()
	const n, rows, cols = 5, 20, 704
	for f := range interleavedFormats {
		for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			w := interleave(drawMatrix(r, f, rows, cols, tame))
			x := draw(r, n*cols, tame)
			at := r.IntN(len(x))
			x[at] = float32(v)
			onPaths(func(path string) {
				dst := make([]float32, n*rows)
				pool.MatMul(dst, x, n, w)
				for i, y := range dst {
					if (y != y) != (i/rows == at/cols) {
						t.Fatalf("%s %v: %v at token %d: row %d of token %d is %v", path, f, v, at/cols, i%rows,
							i/rows, y)
					}
				}
			})
		}
	}
}

// TestRoundedError bounds what rounding loses: half a step of each activation.
func TestRoundedError(t *testing.T) {
	r := rand.New(rand.NewPCG(65, 66))
	pool := NewPool(1)
	defer pool.Close()
	for f := range interleavedFormats {
		const rows, cols = 10, 992
		w := drawMatrix(r, f, rows, cols, func(r *rand.Rand) float32 { return 1 + float32(r.Float64()) })
		x := draw(r, cols, tame)
		exact, got := make([]float32, rows), make([]float32, rows)
		Mul(exact, x, 1, w)
		pool.MatMul(got, x, 1, interleave(w))
		row := make([]float32, cols)
		for i := range rows {
			DecodeRow(row, w, i)
			bound := 0.0
			for c, v := range row {
				most := 0.0
				for _, a := range x[c/32*32 : min(c/32*32+32, cols)] {
					most = max(most, math.Abs(float64(a)))
				}
				bound += math.Abs(float64(v)) * most / 127 * 0.501
			}
			if d := math.Abs(float64(exact[i] - got[i])); d > bound || d == 0 {
				t.Errorf("%v row %d: %v, exact %v, bound %v", f, i, got[i], exact[i], bound)
			}
		}
	}
}

// TestRoundedAllocations has products allocate nothing once there is memory.
func TestRoundedAllocations(t *testing.T) {
	r := rand.New(rand.NewPCG(67, 68))
	pool := NewPool(2)
	defer pool.Close()
	w := interleave(drawMatrix(r, Q8, 64, 256, tame))
	x, dst := draw(r, 20*256, tame), make([]float32, 20*64)
	pool.MatMul(dst, x, 20, w)
	if allocs := testing.AllocsPerRun(50, func() { pool.MatMul(dst, x, 20, w) }); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
