package kernels

import "unsafe"

// What follows does the first elements of rows, as many as are whole registers, and returns how
// many that are.

func addRowFast(dst, x []float32) (n int) {
	n = len(dst) &^ 7
	addRowAVX2(unsafe.SliceData(dst), unsafe.SliceData(x), n)
	return n
}

func addStoredFast(dst []float32, src []byte, f Format) (n int) {
	n = len(dst) &^ 7
	if f == F32 {
		addRowAVX2(unsafe.SliceData(dst), (*float32)(unsafe.Pointer(unsafe.SliceData(src))), n)
	} else {
		addBF16AVX2(unsafe.SliceData(dst), unsafe.SliceData(src), n)
	}
	return n
}

func encodeFast(dst []byte, x []float32, f Format) (n int) {
	if f == F32 { // this processor's own order
		copy(dst, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x)))
		return len(x)
	}
	n = len(x) &^ 15
	encodeBF16AVX2(unsafe.SliceData(dst), unsafe.SliceData(x), n)
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
	if f == BF16 {
		decodeBF16AVX2((*byte)(unsafe.Pointer(&o)))
	} else {
		decodeF16AVX2((*byte)(unsafe.Pointer(&o)))
	}
	return n
}

func normFast(dst, x, w []float32, scale float32) (n int) {
	n = len(dst) &^ 7
	normRowAVX2(unsafe.SliceData(dst), unsafe.SliceData(x), unsafe.SliceData(w), n, scale)
	return n
}

func ropeHalfFast(low, high, cos, sin []float32) (n int) {
	n = len(cos) &^ 7
	ropeHalfAVX2(unsafe.SliceData(low), unsafe.SliceData(high), unsafe.SliceData(cos),
		unsafe.SliceData(sin), n)
	return n
}

func ropeInterleavedFast(x, cos, sin []float32) (n int) {
	n = len(cos) &^ 3
	ropeInterleavedAVX2(unsafe.SliceData(x), unsafe.SliceData(cos), unsafe.SliceData(sin), n)
	return n
}

func highestFast(x []float32) (n int, highest float32, nan bool) {
	n = len(x) &^ 15
	highest, nans := highestAVX2(unsafe.SliceData(x), n)
	return n, highest, nans != 0
}

func weighFast(dst []uint64, logits []float32, p *Weighing) (n int, sum uint64) {
	fields := (*byte)(unsafe.Pointer(p))
	if wide {
		n = len(logits) &^ 7
		return n, weighAVX512(unsafe.SliceData(dst), unsafe.SliceData(logits), n, fields)
	}
	n = len(logits) &^ 3
	return n, weighAVX2(unsafe.SliceData(dst), unsafe.SliceData(logits), n, fields)
}
