package kernels

import (
	"math"
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var allFormats = []Format{F32, BF16, F16, E4M3, MXFP4, Q8, Q4}

// sameBits says whether a and b are the same float32, or both NaN.
func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || (a != a && b != b)
}

// wild draws a float32 from every kind: any bits at all, ordinary numbers, subnormals, halves that
// make ties, zeros, infinities, NaN.
func wild(r *rand.Rand) float32 {
	switch r.IntN(16) {
	case 0:
		return math.Float32frombits(r.Uint32())
	case 1:
		return math.Float32frombits(r.Uint32() & 0x807fffff) // subnormal
	case 2:
		specials := []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)),
			float32(math.Inf(-1)), float32(math.NaN()), math.MaxFloat32, 0x1p-126, 0x1p-149}
		return specials[r.IntN(len(specials))]
	case 3, 4, 5:
		return float32(r.IntN(1<<13)-1<<12) * float32(math.Ldexp(1, r.IntN(24)-12)) // ties
	}
	return tame(r)
}

// tame draws a float32 as activations and weights are.
func tame(r *rand.Rand) float32 { return float32(r.NormFloat64()) }

// tiny draws a float32 whose products with its like, or with ordinary numbers, lie about the least
// normal float32 and below.
func tiny(r *rand.Rand) float32 {
	return float32(math.Ldexp(r.NormFloat64(), -55-r.IntN(95)))
}

// kinds are the sorts of values that twins are compared on.
var kinds = []func(*rand.Rand) float32{tame, tiny, wild}

func draw(r *rand.Rand, n int, kind func(*rand.Rand) float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = kind(r)
	}
	return x
}

// drawMatrix returns a matrix with all that its format needs. With wild values every bit pattern
// occurs that the package's contract allows.
func drawMatrix(r *rand.Rand, f Format, rows, cols int, kind func(*rand.Rand) float32) Matrix {
	if f.Interleaved() {
		return interleave(drawMatrix(r, f.rowFormat(), rows, cols, kind))
	}
	if f == MXFP4 {
		cols -= cols % exponentGroup
	}
	m := Matrix{Format: f, Rows: rows, Cols: cols}
	if f != Q8 && f != Q4 {
		m.Data = drawWeights(r, rows*cols, f, kind)
	}
	switch f {
	case Q8, Q4:
		m.Data = drawQuants(r, rows, cols, f, kind)
	case E4M3:
		m.First = r.IntN(200)
		blocks := (m.First + rows + scaleBlock - 1) / scaleBlock * ((cols + scaleBlock - 1) / scaleBlock)
		m.Scales = make([]float32, blocks)
		for i := range m.Scales {
			m.Scales[i] = drawScale(r, kind)
		}
	case MXFP4:
		m.Exponents = make([]byte, rows*cols/exponentGroup)
		for i := range m.Exponents { // the exponents of the kind's values, subnormal to infinite
			m.Exponents[i] = byte(math.Float32bits(kind(r)) >> 23)
		}
	}
	return m
}

// drawScale returns a scale that the package's contract allows.
func drawScale(r *rand.Rand, kind func(*rand.Rand) float32) float32 {
	s := kind(r)
	for math.Abs(float64(s)) >= 0x1p120 {
		s = kind(r)
	}
	return s
}

// drawQuants returns rows of Q8 or Q4.
func drawQuants(r *rand.Rand, rows, cols int, f Format, kind func(*rand.Rand) float32) []byte {
	var data []byte
	for range rows {
		for range f.Bytes(cols) - 2*((cols+31)/32) {
			data = append(data, byte(r.Uint32()))
		}
		for range (cols + 31) / 32 {
			bits := math.Float32bits(drawScale(r, kind))
			data = append(data, byte(bits>>16), byte(bits>>24))
		}
	}
	return data
}

// spread moves the rows of a matrix apart, with nothing behind the last row.
func spread(r *rand.Rand, m Matrix) Matrix {
	move := func(data []byte, row, stride int) []byte {
		out := make([]byte, max(0, (m.Rows-1)*stride+row))
		for i := range out {
			out[i] = byte(r.Uint32())
		}
		for i := range m.Rows {
			copy(out[i*stride:], data[i*row:(i+1)*row])
		}
		return out
	}
	row := m.Format.Bytes(m.Cols)
	m.Stride = row + r.IntN(40)
	m.Data = move(m.Data, row, m.Stride)
	if m.Format == MXFP4 {
		groups := m.Cols / exponentGroup
		m.ExponentStride = groups + r.IntN(5)
		m.Exponents = move(m.Exponents, groups, m.ExponentStride)
	}
	return m
}

// drawWeights returns n stored weights.
func drawWeights(r *rand.Rand, n int, f Format, kind func(*rand.Rand) float32) []byte {
	data := make([]byte, f.Bytes(n))
	if f > F16 {
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		return data
	}
	for i := range n {
		bits := math.Float32bits(kind(r))
		switch f {
		case F32:
			copy(data[4*i:], []byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)})
		case BF16:
			data[2*i], data[2*i+1] = byte(bits>>16), byte(bits>>24)
		case F16: // ordinary exponents go to 2^-8 … 2^7, the special ones to f16's own
			exponent := uint16(7 + bits>>23&15)
			switch bits >> 23 & 255 {
			case 0:
				exponent = 0
			case 255:
				exponent = 31
			}
			h := uint16(bits>>16&0x8000) | exponent<<10 | uint16(bits>>13&0x3ff)
			data[2*i], data[2*i+1] = byte(h), byte(h>>8)
		}
	}
	return data
}

// drawCached returns n positions of width numbers with all that the format needs, the positions
// apart by some bytes more than they take.
func drawCached(r *rand.Rand, f Format, n, width, apart int, kind func(*rand.Rand) float32) Cached {
	c := Cached{Format: f, Stride: f.Bytes(width) + apart, ScaleStride: 1 + apart}
	c.Data = make([]byte, max(0, (n-1)*c.Stride+f.Bytes(width)))
	for i := range c.Data {
		c.Data[i] = byte(r.Uint32())
	}
	c.Scales = draw(r, max(0, (n-1)*c.ScaleStride+1), kind)
	if f != I8 {
		for j := range n {
			copy(c.Data[j*c.Stride:], drawWeights(r, width, f, kind))
		}
	}
	return c
}
