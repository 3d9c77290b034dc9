package kernels

import (
	"encoding/binary"
	"math"
)

// Format is the element format of stored weights, or of cached keys and values, little-endian.
type Format uint8

// The formats that weights, and keys and values, are stored in.
const (
	F32      Format = iota // IEEE binary32
	BF16                   // the upper half of a binary32
	F16                    // IEEE binary16
	E4M3                   // sign, 4 exponent bits of bias 7, 3 bits; scaled by blocks of 128×128
	MXFP4                  // sign, 2 exponent bits of bias 1, 1 bit; scaled by groups of 32 columns
	I8                     // two's complement, scaled by position; of a KV cache only
	Q8                     // two's complement of 8 bits, scaled by groups of 32 columns
	Q4                     // 4 bits that stand for -8 to 7, scaled by groups of 32 columns
	Q8x16                  // Q8 by bands of 16 rows: see Interleave
	Q4x16                  // Q4 by bands of 16 rows
	MXFP4x16               // MXFP4 by bands of 16 rows, with scales like Q4's
)

const (
	scaleBlock    = 128 // rows and columns under one scale of E4M3
	exponentGroup = 32  // columns under one exponent of MXFP4
	quantGroup    = 32  // columns under one scale of Q8 and Q4
	quantScale    = 2   // bytes of that scale
)

// Bytes returns the bytes of n consecutive elements: of Q8 and Q4, whose rows hold their scales,
// those of a row of n.
func (f Format) Bytes(n int) int {
	switch f {
	case F32:
		return 4 * n
	case BF16, F16:
		return 2 * n
	case E4M3, I8:
		return n
	case MXFP4:
		return n / 2
	case Q8, Q4:
		return f.quantBytes(n) + quantGroups(n)*quantScale
	}
	panic("kernels: Bytes of an unknown format")
}

// String returns the name of the format: safetensors' own, where it has one.
func (f Format) String() string {
	switch f {
	case F32:
		return "F32"
	case BF16:
		return "BF16"
	case F16:
		return "F16"
	case E4M3:
		return "F8_E4M3"
	case MXFP4:
		return "MXFP4"
	case I8:
		return "I8"
	case Q8:
		return "Q8"
	case Q4:
		return "Q4"
	case Q8x16:
		return "Q8x16"
	case Q4x16:
		return "Q4x16"
	case MXFP4x16:
		return "MXFP4x16"
	}
	return "unknown format"
}

// Decode converts len(dst) stored elements of a format without scales to float32: dst[i] = src[i].
// Nothing is rounded. Elements with scales are DecodeRow's.
func Decode(dst []float32, src []byte, f Format) {
	if f > F16 {
		panic("kernels: Decode of a format that has scales, or is unknown")
	}
	if len(src) < f.Bytes(len(dst)) {
		panic("kernels: Decode source is shorter than the destination")
	}
	if fastPath {
		n := decodeRowFast(dst, src, f)
		dst, src = dst[n:], src[f.Bytes(n):]
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

// decodeE4M3 scales elements of one block: dst[i] = src[i] * scale, rounded once. As the assembly
// does, it reads an element as 1/256 of its value, which a float16 of the same bits is, and makes
// up for it in the scale; both are exact. The NaN codes read as ±480.
func decodeE4M3(dst []float32, src []byte, scale float32) {
	const rebase = 0x1p112 // from a float32's bias to 1/256: 2^(127-7-8)
	scale *= 256
	for i, q := range src[:len(dst)] {
		v := math.Float32frombits(uint32(q&0x80)<<24|uint32(q&0x7f)<<20) * rebase
		dst[i] = v * scale
	}
}

// decodeMXFP4 scales elements of one group: dst[2i] = low nibble of src[i] * 2^(exponent-127),
// dst[2i+1] = high nibble.
func decodeMXFP4(dst []float32, src []byte, exponent byte) {
	const rebase = 0x1p126 // from a float32's bias to E2M1's: 2^(127-1)
	scale := powerOfTwo(exponent)
	for i := range dst {
		q := uint32(src[i/2]) >> (i % 2 * 4)
		v := math.Float32frombits(q&8<<28|q&7<<22) * rebase
		dst[i] = v * scale
	}
}

// powerOfTwo returns 2^(e-127), an E8M0 scale. 2^-127 is subnormal; 255, a NaN by the format's
// definition, gives infinity.
func powerOfTwo(e byte) float32 {
	return math.Float32frombits(max(uint32(e)<<23, 1<<22))
}
