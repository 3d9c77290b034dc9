package kernels

import (
	"encoding/binary"
	"math"
)

// Format is the element format of stored weights, little-endian.
type Format uint8

// The formats that weights are stored in.
const (
	F32  Format = iota // IEEE binary32
	BF16               // the upper half of a binary32
	F16                // IEEE binary16
)

// Size returns the bytes of one element.
func (f Format) Size() int {
	if f == F32 {
		return 4
	}
	return 2
}

// String returns the name that safetensors uses.
func (f Format) String() string {
	switch f {
	case F32:
		return "F32"
	case BF16:
		return "BF16"
	case F16:
		return "F16"
	}
	return "unknown format"
}

// Matrix is a read-only view of stored weights [Rows, Cols], row-major, little-endian, at any
// alignment. Data has at least Rows*Cols*Format.Size() bytes.
type Matrix struct {
	Format     Format
	Rows, Cols int
	Data       []byte
}

// Row returns the bytes of row r.
func (m Matrix) Row(r int) []byte {
	stride := m.Cols * m.Format.Size()
	return m.Data[r*stride : (r+1)*stride]
}

// Decode converts len(dst) stored elements to float32: dst[i] = src[i]. Every element of the three
// formats is a float32, so nothing is rounded.
func Decode(dst []float32, src []byte, f Format) {
	if len(src) < len(dst)*f.Size() {
		panic("kernels: Decode source is shorter than the destination")
	}
	switch f {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	case F16:
		for i := range dst {
			dst[i] = halfToFloat(binary.LittleEndian.Uint16(src[2*i:]))
		}
	default:
		panic("kernels: Decode of an unknown format")
	}
}

// halfToFloat widens a binary16, exactly. The exponent is moved to a float32's place and rebased by
// a multiplication with 2^112, which also normalises subnormals.
func halfToFloat(h uint16) float32 {
	const rebase = 0x1p112
	sign := uint32(h&0x8000) << 16
	magnitude := uint32(h&0x7fff) << 13
	if h&0x7c00 == 0x7c00 { // infinity or NaN; the quiet bit as the hardware sets it
		if h&0x3ff != 0 {
			magnitude |= 1 << 22
		}
		return math.Float32frombits(sign | magnitude | 0x7f800000)
	}
	v := math.Float32frombits(magnitude) * rebase
	return math.Float32frombits(sign | math.Float32bits(v))
}
