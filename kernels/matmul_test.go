package kernels

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// weight is element (r, c) by the definition of its format, in float64 and rounded once.
func weight(m Matrix, r, c int) float32 {
	stride := m.Stride
	if stride == 0 {
		stride = m.Format.Bytes(m.Cols)
	}
	row := m.Data[r*stride:]
	switch m.Format {
	case E4M3:
		perRow := (m.Cols + 127) / 128
		return float32(e4m3Value(row[c]) * float64(m.Scales[(m.First+r)/128*perRow+c/128]))
	case MXFP4:
		exponents := m.ExponentStride
		if exponents == 0 {
			exponents = m.Cols / 32
		}
		q := row[c/2] >> (4 * (c % 2)) & 15
		v := []float64{0, 0.5, 1, 1.5, 2, 3, 4, 6}[q&7]
		if q >= 8 {
			v = -v
		}
		if v == 0 && q >= 8 {
			v = math.Copysign(0, -1)
		}
		e := m.Exponents[r*exponents+c/32]
		if e == 255 {
			return float32(v * math.Inf(1))
		}
		return float32(math.Ldexp(v, int(e)-127))
	}
	if m.Format == Q8 || m.Format == Q4 {
		return quantised(m.Format, row, c, m.Cols)
	}
	var v [1]float32
	Decode(v[:], row[m.Format.Bytes(c):], m.Format)
	return v[0]
}

// quantised is column c of a row of Q8 or Q4.
func quantised(f Format, row []byte, c, cols int) float32 {
	groups, g, i := (cols+31)/32, c/32, c%32
	size := map[Format]int{Q8: 32, Q4: 16}[f]
	bits := row[groups*size+2*g:]
	scale := float64(math.Float32frombits(uint32(bits[0])<<16 | uint32(bits[1])<<24))
	q := row[g*size:][:size]
	if f == Q8 {
		return float32(float64(int8(q[i])) * scale)
	}
	nibble := q[i%16] & 15
	if i >= 16 {
		nibble = q[i%16] >> 4
	}
	return float32(float64(nibble)*scale - 8*scale)
}

// e4m3Value is the value of a code, by the definition of the format; a NaN code is ±480, which is
// what its bits would be in a format without NaN.
func e4m3Value(q byte) float64 {
	exponent, fraction := int(q>>3&15), float64(q&7)/8
	v := math.Ldexp(1+fraction, exponent-7)
	if exponent == 0 {
		v = math.Ldexp(fraction, -6)
	}
	if q >= 128 {
		return math.Copysign(v, -1)
	}
	return v
}

// definition is what every product must equal: the twin's dot product of the weights by definition,
// and the bias.
func definition(x []float32, w Matrix, t, row int) float32 {
	weights := make([]float32, w.Cols)
	for c := range weights {
		weights[c] = weight(w, row, c)
	}
	dot := dotGeneric(x[t*w.Cols:(t+1)*w.Cols], weights)
	if w.Bias != nil {
		return dot + w.Bias[row]
	}
	return dot
}

// misaligned returns a copy of data that starts offset bytes into its allocation.
func misaligned(data []byte, offset int) []byte {
	return append(make([]byte, offset, offset+len(data)), data...)[offset:]
}

// TestMatMul compares every path with the definition, bit for bit, over random shapes with tails,
// rows apart, misaligned weights, scale blocks that begin anywhere and values of every kind, and so
// also shows that tiles change nothing.
func TestMatMul(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	pool := NewPool(3)
	defer pool.Close()
	for round := range 1050 {
		f, kind := allFormats[round%len(allFormats)], kinds[round/len(allFormats)%3]
		n, rows, cols := r.IntN(14), r.IntN(18), r.IntN(100)
		if round%7 == 0 {
			cols += r.IntN(600) // more than a panel has
		}
		w := drawMatrix(r, f, rows, cols, kind)
		if round%4 == 0 {
			w = spread(r, w)
		}
		if round%3 == 0 {
			w.Bias = draw(r, rows, kind)
		}
		w.Data, w.Exponents = misaligned(w.Data, r.IntN(8)), misaligned(w.Exponents, r.IntN(8))
		checkProduct(t, pool, draw(r, n*w.Cols, kind), n, w)
		if rows > 0 {
			lo := r.IntN(rows)
			w = w.Slice(lo, lo+1+r.IntN(rows-lo))
			checkProduct(t, pool, draw(r, n*w.Cols, kind), n, w)
		}
	}
	for _, shape := range [][3]int{{1, 768, 256}, {50, 40, 768}, {97, 9, 1000}, {64, 130, 33},
		{9, 13, 2065}} {
		for _, f := range allFormats {
			n, rows, cols := shape[0], shape[1], shape[2]
			w := drawMatrix(r, f, rows, cols, tame)
			checkProduct(t, pool, draw(r, n*w.Cols, tame), n, w)
		}
	}
}

func checkProduct(t *testing.T, pool *Pool, x []float32, n int, w Matrix) {
	t.Helper()
	want := make([]float32, n*w.Rows)
	for i := range want {
		want[i] = definition(x, w, i/w.Rows, i%w.Rows)
	}
	check := func(name string, got []float32) {
		for i := range want {
			if !sameBits(got[i], want[i]) {
				t.Fatalf("%s %v n=%d [%d,%d]: token %d row %d is %x, want %x", name, w.Format, n,
					w.Rows, w.Cols, i/w.Rows, i%w.Rows, got[i], want[i])
			}
		}
	}
	onPaths(func(path string) {
		got := make([]float32, len(want))
		pool.MatMul(got, x, n, w)
		check(path, got)
		clear(got)
		Mul(got, x, n, w)
		check(path+" alone", got)
	})
}

// TestUnderflowKeepsItsSign has every lane end as -0, which padding a tail with +0 would lose.
func TestUnderflowKeepsItsSign(t *testing.T) {
	const rows = 5
	pool := NewPool(1)
	defer pool.Close()
	for i := range 4 * lanes {
		n, cols := []int{4, 11}[i%2], lanes+i/2
		x := make([]float32, n*cols)
		for i := range x {
			x[i] = -0x1p-149
		}
		quarter := map[Format][]byte{F32: {0, 0, 0x80, 0x3e}, BF16: {0x80, 0x3e}, F16: {0, 0x34},
			E4M3: {0x28}, MXFP4: {0x11},
			Q8: {1}, Q4: {0x99}}
		for _, f := range allFormats {
			if f == MXFP4 && cols != exponentGroup {
				continue
			}
			w := Matrix{Format: f, Rows: rows, Cols: cols, Scales: []float32{1},
				Exponents: bytes.Repeat([]byte{126}, rows)}
			w.Data = bytes.Repeat(quarter[f], f.Bytes(rows*cols)/len(quarter[f]))
			if f == Q8 || f == Q4 {
				groups := (cols + 31) / 32
				row := bytes.Repeat(quarter[f], f.Bytes(cols)-2*groups)
				w.Data = bytes.Repeat(append(row, bytes.Repeat(quarter[BF16], groups)...), rows)
			}
			dst := make([]float32, n*rows)
			onPaths(func(path string) {
				pool.MatMul(dst, x, n, w)
				for i, v := range dst {
					if math.Float32bits(v) != 1<<31 {
						t.Fatalf("%s %v [%d,%d]: %d is %v, want -0", path, f, rows, cols, i, v)
					}
				}
			})
		}
	}
}

// TestTilesCover checks that the tiles of a large product are each done, and once.
func TestTilesCover(t *testing.T) {
	for _, n := range []int{1, 3, 47, 48, 49, 200} {
		for _, cols := range []int{1, 768, 7168, 1 << 20} {
			tokens, rows := tileSize(n, cols, Packs(n))
			if tokens < 1 || tokens > n || rows < tileRows || rows%tileRows != 0 {
				t.Errorf("tileSize(%d, %d) = %d, %d", n, cols, tokens, rows)
			}
		}
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	pool := NewPool(2)
	defer pool.Close()
	const n, rows, cols = 37, 70, 1000 // with tails of every sort
	x, dst, weights := draw(r, n*cols, tame), make([]float32, n*rows), draw(r, cols, tame)
	for _, f := range allFormats {
		w := drawMatrix(r, f, rows, cols, tame)
		for name, run := range map[string]func(){
			"MatMul":     func() { pool.MatMul(dst, x, n, w) },
			"Mul":        func() { Mul(dst, x, n, w) },
			"Slice":      func() { pool.MatMul(dst, x, n, w.Slice(3, rows)) },
			"DecodeRow":  func() { DecodeRow(weights[:w.Cols], w, 1) },
			"Transposed": func() { MulTransposed(weights[:w.Cols], x[:rows], w) },
			"Dot":        func() { Dot(weights, x[:cols]) },
		} {
			onPaths(func(path string) {
				if got := testing.AllocsPerRun(20, run); got != 0 {
					t.Errorf("%s %s %v allocates %v times", path, name, f, got)
				}
			})
		}
	}
}

func TestWrongShapesPanic(t *testing.T) {
	ok := Matrix{Format: BF16, Rows: 2, Cols: 3, Data: make([]byte, 12)}
	e4m3 := Matrix{Format: E4M3, Rows: 2, Cols: 130, Data: make([]byte, 260), Scales: make([]float32, 2)}
	mxfp4 := Matrix{Format: MXFP4, Rows: 2, Cols: 32, Data: make([]byte, 32), Exponents: make([]byte, 2)}
	q8 := Matrix{Format: Q8, Rows: 2, Cols: 33, Data: make([]byte, 2*68)}
	pool := NewPool(1)
	defer pool.Close()
	floats := func(n int) []float32 { return make([]float32, n) }
	changed := func(m Matrix, change func(*Matrix)) func() {
		return func() {
			pool.MatMul(floats(m.Rows), floats(m.Cols), 1, m) // as it is, it is fine
			cols := m.Cols
			change(&m)
			pool.MatMul(floats(m.Rows), floats(cols+1), 1, m)
		}
	}
	for i, call := range []func(){
		func() { pool.MatMul(floats(1), floats(3), 1, ok) },
		func() { pool.MatMul(floats(2), floats(2), 1, ok) },
		changed(ok, func(m *Matrix) { m.Data = m.Data[:11] }),
		changed(ok, func(m *Matrix) { m.Format = 9 }),
		changed(ok, func(m *Matrix) { m.Stride = 5 }),
		changed(ok, func(m *Matrix) { m.Stride = 7 }),
		changed(ok, func(m *Matrix) { m.Stride = -6 }),
		changed(ok, func(m *Matrix) { m.Bias = floats(1) }),
		changed(e4m3, func(m *Matrix) { m.Scales = m.Scales[:1] }),
		changed(e4m3, func(m *Matrix) { m.First = 127 }),
		changed(e4m3, func(m *Matrix) { m.First = -1 }),
		changed(mxfp4, func(m *Matrix) { m.Exponents = m.Exponents[:1] }),
		changed(mxfp4, func(m *Matrix) { m.ExponentStride = 2 }),
		changed(mxfp4, func(m *Matrix) { m.ExponentStride = -1 }),
		changed(mxfp4, func(m *Matrix) { m.Cols = 31 }),
		changed(q8, func(m *Matrix) { m.Data = m.Data[:2*68-1] }),
		changed(q8, func(m *Matrix) { m.Format = I8 }),
		func() { ok.Slice(1, 3) },
		func() { ok.Slice(-1, 1) },
		func() { ok.Slice(2, 1) },
		func() { DecodeRow(floats(3), ok, 2) },
		func() { DecodeRow(floats(2), ok, 1) },
		func() { Decode(floats(1), make([]byte, 4), E4M3) },
		func() { Decode(floats(2), make([]byte, 7), F32) },
		func() { MulTransposed(floats(2), floats(2), ok) },
		func() { MulTransposed(floats(3), floats(3), ok) },
		func() { Dot(floats(2), floats(3)) },
		func() { RopeInterleaved(floats(5), floats(2), floats(2)) },
		func() { SwiGLUClamped(floats(2), floats(2), floats(3), 1, 1) },
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			call()
		})
	}
}
