package kernels

import (
	"math"
	"unsafe"
)

// What follows does the first elements of rows, as many as are whole registers, and returns how
// many that are.

func addRowFast(dst, x []float32) (n int) {
	n = len(dst) &^ 3
	addRowNEON(unsafe.SliceData(dst), unsafe.SliceData(x), n)
	return n
}

func addStoredFast(dst []float32, src []byte, f Format) (n int) {
	n = len(dst) &^ 7
	if f == F32 {
		addRowNEON(unsafe.SliceData(dst), (*float32)(unsafe.Pointer(unsafe.SliceData(src))), n)
	} else {
		addBF16NEON(unsafe.SliceData(dst), unsafe.SliceData(src), n)
	}
	return n
}

func encodeFast(dst []byte, x []float32, f Format) (n int) {
	if f == F32 { // this processor's own order
		copy(dst, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x)))
		return len(x)
	}
	n = len(x) &^ 7
	encodeBF16NEON(unsafe.SliceData(dst), unsafe.SliceData(x), n)
	return n
}

// decodeRowFast decodes F32, BF16 and F16.
func decodeRowFast(dst []float32, src []byte, f Format) (n int) {
	if f == F32 {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(dst))), 4*len(dst)), src)
		return len(dst)
	}
	n = len(dst) &^ (lanes - 1)
	if n == 0 {
		return 0
	}
	var o operands
	o.dst, o.w, o.blocks = &dst[0], &src[0], n/lanes
	decodeBlocks(f, (*byte)(unsafe.Pointer(&o)))
	return n
}

func normFast(dst, x, w []float32, scale float32) (n int) {
	n = len(dst) &^ 3
	normRowNEON(unsafe.SliceData(dst), unsafe.SliceData(x), unsafe.SliceData(w), n, scale)
	return n
}

func ropeHalfFast(low, high, cos, sin []float32) (n int) {
	n = len(cos) &^ 3
	ropeHalfNEON(unsafe.SliceData(low), unsafe.SliceData(high), unsafe.SliceData(cos),
		unsafe.SliceData(sin), n)
	return n
}

func ropeInterleavedFast(x, cos, sin []float32) (n int) {
	n = len(cos) &^ 3
	ropeInterleavedNEON(unsafe.SliceData(x), unsafe.SliceData(cos), unsafe.SliceData(sin), n)
	return n
}

func highestFast(x []float32) (n int, highest float32, nan bool) {
	n = len(x) &^ 3
	var most [8]float32
	highestNEON(unsafe.SliceData(x), n, &most[0])
	highest = float32(math.Inf(-1))
	for l, m := range most {
		switch {
		case m != m:
			nan = true
		case l < 4 && m > highest:
			highest = m
		}
	}
	return n, highest, nan
}

// weighFast leaves all to the twin, which does little more for a logit without a weight, as most
// are, than to compare it.
func weighFast(_ []uint64, _ []float32, _ *Weighing) (n int, sum uint64) { return 0, 0 }
