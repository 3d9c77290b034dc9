package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTables compares every code of E4M3 and E2M1 with the reference.
func TestTables(t *testing.T) {
	v := readVectors(t)
	if len(v.E4M3) != 256 || len(v.E2M1) != 16 || len(v.Group.Values) != 32 {
		t.Fatal("vectors are missing")
	}
	e4m3 := Matrix{Format: E4M3, Rows: 1, Cols: 256, Data: make([]byte, 256), Scales: []float32{1, 1}}
	for i := range e4m3.Data {
		e4m3.Data[i] = byte(i)
	}
	pairs := Matrix{Format: MXFP4, Rows: 1, Cols: 512, Data: e4m3.Data, Exponents: make([]byte, 16)}
	for i := range pairs.Exponents {
		pairs.Exponents[i] = 127
	}
	group := Matrix{Format: MXFP4, Rows: 1, Cols: 32, Exponents: []byte{byte(v.Group.Scale)}}
	for _, b := range v.Group.Bytes {
		group.Data = append(group.Data, byte(b))
	}
	onPaths(func(path string) {
		got := make([]float32, 512)
		DecodeRow(got[:256], e4m3, 0)
		for code, want := range v.E4M3 {
			at, isNaN := NotFinite(E4M3, e4m3.Data[code:code+1])
			if value, ok := want.(float64); isNaN == ok || at != 0 || ok && got[code] != float32(value) {
				t.Errorf("%s: E4M3 %#02x = %v (NaN: %v), want %v", path, code, got[code], isNaN, want)
			}
			if math.Signbit(float64(got[code])) != (code >= 128) {
				t.Errorf("%s: E4M3 %#02x = %v has the wrong sign", path, code, got[code])
			}
		}
		DecodeRow(got, pairs, 0)
		for i := range got {
			code := i / 2 >> (4 * (i % 2)) & 15
			if got[i] != v.E2M1[code] || math.Signbit(float64(got[i])) != (code >= 8) {
				t.Errorf("%s: E2M1 %d = %v, want %v", path, code, got[i], v.E2M1[code])
			}
		}
		DecodeRow(got[:32], group, 0)
		if !slices.Equal(got[:32], v.Group.Values) {
			t.Errorf("%s: group = %v, want %v", path, got[:32], v.Group.Values)
		}
	})
}

// TestExponents decodes all codes under all exponents: 2^-127 and products below it are subnormal,
// and beyond the largest float32 there is infinity.
func TestExponents(t *testing.T) {
	m := Matrix{Format: MXFP4, Rows: 256, Cols: 32, Data: make([]byte, 256*16), Exponents: make([]byte, 256)}
	for i := range m.Data {
		m.Data[i] = byte(i%8*2) | byte(i%8*2+1)<<4
		m.Exponents[i/16] = byte(i / 16)
	}
	row := make([]float32, 32)
	onPaths(func(path string) {
		for r := range m.Rows {
			DecodeRow(row, m, r)
			for c, got := range row {
				if want := weight(m, r, c); !sameBits(got, want) {
					t.Fatalf("%s: code %d under exponent %d = %v, want %v", path, c%16, r, got, want)
				}
			}
		}
	})
}

// TestDecodeRowAndMulTransposed compares both with the definition, bit for bit, over random shapes
// and values of every kind.
func TestDecodeRowAndMulTransposed(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 42))
	for round := range 420 {
		f, kind := allFormats[round%len(allFormats)], kinds[round/len(allFormats)%3]
		m := drawMatrix(r, f, r.IntN(40), r.IntN(300), kind)
		if round%2 == 0 {
			m = spread(r, m)
		}
		m.Bias = draw(r, m.Rows, kind) // which neither uses
		y, want := draw(r, m.Rows, kind), make([]float32, m.Cols)
		rows := make([][]float32, m.Rows)
		for i := range rows {
			rows[i] = make([]float32, m.Cols)
			for c := range rows[i] {
				rows[i][c] = weight(m, i, c)
				want[c] = fma32(y[i], rows[i][c], want[c])
			}
		}
		onPaths(func(path string) {
			name := fmt.Sprintf("%s %v [%d,%d]", path, f, m.Rows, m.Cols)
			got := draw(r, m.Cols, tame)
			for i := range rows {
				DecodeRow(got, m, i)
				compare(t, name+" row", got, rows[i])
			}
			MulTransposed(got, y, m)
			compare(t, name+" transposed", got, want)
		})
	}
}

func compare(t *testing.T, name string, got, want []float32) {
	t.Helper()
	for i := range want {
		if !sameBits(got[i], want[i]) {
			t.Fatalf("%s: [%d] = %x, want %x", name, i, got[i], want[i])
		}
	}
}

// TestDequantised has the same bits from quantised weights as from an F32 matrix that holds their
// values, across scale blocks in both directions.
func TestDequantised(t *testing.T) {
	r := rand.New(rand.NewPCG(43, 44))
	pool := NewPool(2)
	defer pool.Close()
	for _, f := range []Format{E4M3, MXFP4, Q8, Q4} {
		for _, n := range []int{1, 2, 3, 7, 10} {
			m := drawMatrix(r, f, 270, 416, tame)
			m.Bias = draw(r, m.Rows, tame)
			plain := Matrix{Format: F32, Rows: m.Rows, Cols: m.Cols, Bias: m.Bias}
			row := make([]float32, m.Cols)
			for i := range m.Rows {
				DecodeRow(row, m, i)
				for _, v := range row {
					b := math.Float32bits(v)
					plain.Data = append(plain.Data, byte(b), byte(b>>8), byte(b>>16), byte(b>>24))
				}
			}
			x := draw(r, n*m.Cols, tame)
			onPaths(func(path string) {
				got, want := make([]float32, n*m.Rows), make([]float32, n*m.Rows)
				pool.MatMul(got, x, n, m)
				pool.MatMul(want, x, n, plain)
				compare(t, fmt.Sprintf("%s %v n=%d", path, f, n), got, want)
			})
		}
	}
}

// TestBeyondTheContract has scales that no checkpoint should hold. The paths agree even so.
func TestBeyondTheContract(t *testing.T) {
	r := rand.New(rand.NewPCG(45, 46))
	pool := NewPool(1)
	defer pool.Close()
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, scale := range []float32{inf, -inf, nan, math.MaxFloat32, 0x1p120, -0x1p120, -1, 0} {
		for _, n := range []int{1, 2, 3, 9} {
			m := drawMatrix(r, E4M3, 6, 150, tame)
			for i := range m.Scales {
				m.Scales[i] = scale
			}
			x := draw(r, n*m.Cols, wild)
			var results [][]float32
			onPaths(func(string) {
				dst, row := make([]float32, n*m.Rows), make([]float32, m.Cols)
				pool.MatMul(dst, x, n, m)
				DecodeRow(row, m, 1)
				results = append(results, append(dst, row...))
			})
			for _, result := range results {
				compare(t, fmt.Sprintf("scale %v n=%d", scale, n), result, results[len(results)-1])
			}
		}
	}
}

// TestSlice takes views of views and compares their rows with the whole's.
func TestSlice(t *testing.T) {
	r := rand.New(rand.NewPCG(47, 48))
	for round := range 200 {
		whole := drawMatrix(r, allFormats[round%len(allFormats)], 1+r.IntN(600), 1+r.IntN(200), tame)
		if round%2 == 0 {
			whole = spread(r, whole)
		}
		whole.Bias = draw(r, whole.Rows, tame)
		view, first := whole, 0
		for view.Rows > 1 {
			lo := r.IntN(view.Rows)
			view, first = view.Slice(lo, lo+r.IntN(view.Rows-lo+1)), first+lo
			if len(view.Bias) != view.Rows || view.Rows > 0 && view.Bias[0] != whole.Bias[first] {
				t.Fatalf("%v: the bias of rows %d on is %v", view.Format, first, view.Bias)
			}
			got, want := make([]float32, view.Cols), make([]float32, view.Cols)
			for i := range view.Rows {
				DecodeRow(got, view, i)
				DecodeRow(want, whole, first+i)
				compare(t, fmt.Sprintf("%v row %d of the view from %d", view.Format, i, first), got, want)
			}
		}
	}
}

// TestInterleavedRows reads gate and up, the even and odd rows of one tensor, as gpt-oss stores them.
func TestInterleavedRows(t *testing.T) {
	r := rand.New(rand.NewPCG(49, 50))
	both := drawMatrix(r, MXFP4, 20, 96, tame)
	stride, groups := both.Format.Bytes(both.Cols), both.Cols/32
	for odd := range 2 {
		half := Matrix{Format: MXFP4, Rows: 10, Cols: 96, Data: both.Data[odd*stride:], Stride: 2 * stride,
			Exponents: both.Exponents[odd*groups:], ExponentStride: 2 * groups}
		got, want := make([]float32, 96), make([]float32, 96)
		for i := range half.Rows {
			DecodeRow(got, half, i)
			DecodeRow(want, both, 2*i+odd)
			compare(t, fmt.Sprintf("row %d of half %d", i, odd), got, want)
		}
	}
}
