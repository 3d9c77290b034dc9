package kernels

import (
	"encoding/binary"
	"math"
)

// Add adds a row to another: dst[i] += x[i].
func Add(dst, x []float32) {
	if len(x) != len(dst) {
		panic("kernels: Add of rows of different lengths")
	}
	n := 0
	if fastPath {
		n = addRowFast(dst, x)
	}
	for i, v := range x[n:] {
		dst[n+i] += v
	}
}

// Scale multiplies a row by a number: x[i] *= c.
func Scale(x []float32, c float32) { scaleBy(x, c) }

// AddStored adds a stored row, F32 or BF16, to one in memory: dst[i] += src[i], at any alignment.
func AddStored(dst []float32, src []byte, f Format) {
	if f > BF16 {
		panic("kernels: AddStored of a format that is neither F32 nor BF16")
	}
	if len(src) != f.Bytes(len(dst)) {
		panic("kernels: AddStored of rows of different lengths")
	}
	n := 0
	if fastPath {
		n = addStoredFast(dst, src, f)
	}
	switch src = src[f.Bytes(n):]; f {
	case F32:
		for i := range dst[n:] {
			dst[n+i] += math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case BF16:
		for i := range dst[n:] {
			dst[n+i] += math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	}
}

// Encode stores a row as F32, which is exact, or BF16, rounded to nearest, ties to even: dst
// [f.Bytes(len(x))]. A NaN stays one, by its quiet bit.
func Encode(dst []byte, x []float32, f Format) {
	if f > BF16 {
		panic("kernels: Encode to a format that is neither F32 nor BF16")
	}
	if len(dst) != f.Bytes(len(x)) {
		panic("kernels: Encode needs room for just x")
	}
	n := 0
	if fastPath {
		n = encodeFast(dst, x, f)
	}
	switch dst = dst[f.Bytes(n):]; f {
	case F32:
		for i, v := range x[n:] {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
	case BF16:
		for i, v := range x[n:] {
			binary.LittleEndian.PutUint16(dst[2*i:], bfloat(v))
		}
	}
}

// Highest returns the largest element of x that is not NaN, or -Inf, and whether any is NaN. The
// sign of a zero is any.
func Highest(x []float32) (highest float32, nan bool) {
	n := 0
	highest = float32(math.Inf(-1))
	if fastPath {
		n, highest, nan = highestFast(x)
	}
	for _, v := range x[n:] {
		switch {
		case v > highest:
			highest = v
		case v != v:
			nan = true
		}
	}
	return highest, nan
}
