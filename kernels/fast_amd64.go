package kernels

//go:generate go run -C gen . -out ../mul_amd64.s -stubs ../mul_amd64.go -pkg kernels

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// fastPath chooses the assembly. Tests clear it to run the plain twin.
var fastPath = cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C

// Features names the path in use.
func Features() string {
	if fastPath {
		return "avx2+fma+f16c"
	}
	return "generic"
}

// dotFast is Dot of slices of one length, which is not 0.
func dotFast(a, b []float32) float32 {
	var dst [1]float32
	dotRowsFast(dst[:], a, b, len(b))
	return dst[0]
}

// dotRowsFast is dotRows for a q that is not empty.
func dotRowsFast(dst, q, rows []float32, stride int) {
	view := weightView{F32, unsafe.Pointer(unsafe.SliceData(rows)), 4 * stride, len(q)}
	mulTokens(dst, 0, q, 1, view, 0, len(dst))
}

func addWeightedFast(acc, weights, values []float32, stride int) {
	addWeightedAVX2(&acc[0], len(acc), &weights[0], len(weights), &values[0], 4*stride)
}

// mulRowsFast is mulRows for a matrix that has columns. Tokens go by threes, which decode a weight
// once for three; twos and a one make up the rest.
func mulRowsFast(dst, x []float32, tokens int, w *Matrix, lo, hi int) {
	stride := w.Cols * w.Format.Size()
	view := weightView{w.Format, unsafe.Pointer(unsafe.SliceData(w.Data)), stride, w.Cols}
	for t := 0; t < tokens; {
		n := min(tokens-t, 3)
		if tokens-t == 4 {
			n = 2
		}
		mulTokens(dst[t*w.Rows:], w.Rows, x[t*w.Cols:], n, view, lo, hi)
		t += n
	}
}

// weightView is rows of weights: row r has cols elements at data + r*stride bytes.
type weightView struct {
	format Format
	data   unsafe.Pointer
	stride int
	cols   int
}

// tailBlocks holds what is left of a tile's rows after the last whole block, padded to whole
// blocks: activations with +0 and weights with -0, whose product -0 changes no sum.
type tailBlocks struct {
	x [3 * lanes]float32
	w [4 * lanes * 4]byte
}

// mulTokens computes dst[t*dstStride+r] for 1, 2 or 3 tokens and rows lo to hi.
func mulTokens(dst []float32, dstStride int, x []float32, tokens int, w weightView, lo, hi int) {
	from := w.cols / lanes * lanes
	if from == w.cols {
		mulTiles(dst, dstStride, x, tokens, w, lo, hi, nil)
		return
	}
	var tail tailBlocks
	for t := range tokens {
		copy(tail.x[t*lanes:], x[t*w.cols+from:][:w.cols-from])
	}
	mulTiles(dst, dstStride, x, tokens, w, lo, hi, &tail)
}

// mulTiles does the whole register tiles, then the rows left over one by one. tail holds the tails
// of x, or is nil if there are none.
func mulTiles(dst []float32, dstStride int, x []float32, tokens int, w weightView, lo, hi int,
	tail *tailBlocks) {
	rows := 2
	if tokens == 1 {
		rows = 4
	}
	r := lo
	for ; r+rows <= hi; r += rows {
		mulTile(&dst[r], dstStride, &x[0], tokens, rows, w, r, tail, 0)
	}
	for ; r < hi; r++ {
		for t := range tokens {
			mulTile(&dst[t*dstStride+r], 0, &x[t*w.cols], 1, 1, w, r, tail, t)
		}
	}
}

// mulTile computes one register tile from row r on, dst[t*dstStride+i] for i < rows. The tail of
// its first token is the tail's block xBlock.
func mulTile(dst *float32, dstStride int, x *float32, tokens, rows int, w weightView, r int,
	tail *tailBlocks, xBlock int) {
	data := (*byte)(unsafe.Add(w.data, r*w.stride))
	blocks := w.cols / lanes
	var xTail *float32
	var wTail *byte
	if tail != nil {
		padRows(&tail.w, w, r, rows)
		xTail, wTail = &tail.x[xBlock*lanes], &tail.w[0]
	}
	d, s := 4*dstStride, 4*w.cols
	switch {
	case tokens == 3:
		mul3x2(w.format, dst, d, x, s, data, w.stride, blocks, xTail, wTail)
	case tokens == 2:
		mul2x2(w.format, dst, d, x, s, data, w.stride, blocks, xTail, wTail)
	case rows == 4:
		mul1x4(w.format, dst, d, x, s, data, w.stride, blocks, xTail, wTail)
	default:
		mul1x1(w.format, dst, d, x, s, data, w.stride, blocks, xTail, wTail)
	}
}

// padRows copies the tails of some rows, one padded block each.
func padRows(dst *[4 * lanes * 4]byte, w weightView, r, rows int) {
	size := w.format.Size()
	from := w.cols / lanes * lanes
	for i := range rows {
		block := dst[i*lanes*size:][:lanes*size]
		row := unsafe.Slice((*byte)(unsafe.Add(w.data, (r+i)*w.stride+from*size)), (w.cols-from)*size)
		clear(block)
		for last := size - 1; last < len(block); last += size {
			block[last] = 0x80
		}
		copy(block, row)
	}
}

func mul3x2(f Format, dst *float32, dstStride int, x *float32, xStride int,
	w *byte, wStride, blocks int, xTail *float32, wTail *byte) {
	switch f {
	case F32:
		mul3x2F32(dst, dstStride, x, xStride, w, wStride, blocks, xTail, wTail)
	case BF16:
		mul3x2BF16(dst, dstStride, x, xStride, w, wStride, blocks, xTail, wTail)
	case F16:
		mul3x2F16(dst, dstStride, x, xStride, w, wStride, blocks, xTail, wTail)
	}
}

func mul2x2(f Format, dst *float32, dstStride int, x *float32, xStride int,
	w *byte, wStride, blocks int, xTail *float32, wTail *byte) {
	switch f {
	case F32:
		mul2x2F32(dst, dstStride, x, xStride, w, wStride, blocks, xTail, wTail)
	case BF16:
		mul2x2BF16(dst, dstStride, x, xStride, w, wStride, blocks, xTail, wTail)
	case F16:
		mul2x2F16(dst, dstStride, x, xStride, w, wStride, blocks, xTail, wTail)
	}
}

func mul1x4(f Format, dst *float32, dstStride int, x *float32, xStride int,
	w *byte, wStride, blocks int, xTail *float32, wTail *byte) {
	switch f {
	case F32:
		mul1x4F32(dst, dstStride, x, xStride, w, wStride, blocks, xTail, wTail)
	case BF16:
		mul1x4BF16(dst, dstStride, x, xStride, w, wStride, blocks, xTail, wTail)
	case F16:
		mul1x4F16(dst, dstStride, x, xStride, w, wStride, blocks, xTail, wTail)
	}
}

func mul1x1(f Format, dst *float32, dstStride int, x *float32, xStride int,
	w *byte, wStride, blocks int, xTail *float32, wTail *byte) {
	switch f {
	case F32:
		mul1x1F32(dst, dstStride, x, xStride, w, wStride, blocks, xTail, wTail)
	case BF16:
		mul1x1BF16(dst, dstStride, x, xStride, w, wStride, blocks, xTail, wTail)
	case F16:
		mul1x1F16(dst, dstStride, x, xStride, w, wStride, blocks, xTail, wTail)
	}
}
