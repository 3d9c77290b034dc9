//go:build amd64 || arm64

package kernels

//go:generate go run -C gen ./neon -part mul -out ../mul_arm64.s -stubs ../mul_arm64.go -pkg kernels
//go:generate go run -C gen ./neon -part attend -out ../attend_arm64.s -stubs ../attend_arm64.go -pkg kernels
//go:generate go run -C gen ./neon -part gate -out ../gate_arm64.s -stubs ../gate_arm64.go -pkg kernels
//go:generate go run -C gen ./neon -part rows -out ../rows_arm64.s -stubs ../rows_arm64.go -pkg kernels
//go:generate go run -C gen ./neon -part rounded -out ../rounded_arm64.s -stubs ../rounded_arm64.go -pkg kernels
//go:generate go run -C gen ./neon -part read -out ../read_arm64.s -stubs ../read_arm64.go -pkg kernels

import (
	"math"
	"unsafe"
)

// Matrix products by way of the assembly's register tiles, which each architecture with a fast path
// has by the same names. What it has beside them is in its own files: rowsOfTile and mulTile, which
// may choose better tiles, panelPays and mulPanels, and decodeFast.

// dotFast is Dot of slices of one length, which is not 0.
func dotFast(a, b []float32) float32 {
	var dst [1]float32
	var w Matrix // assigned field by field: a literal would be copied
	w.Rows, w.Cols, w.Stride = 1, len(a), 4*len(a)
	w.Data = unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), 4*len(b))
	mulTokens(dst[:], 0, a, 1, &w, 0, 1)
	return dst[0]
}

// mulRowsFast is mulRows for a matrix that has columns. Weights go through a panel when tokens are
// many. Few tokens go by threes, which decode a weight once for three; twos and a one make up the
// rest.
func mulRowsFast(dst, x []float32, tokens int, w *Matrix, lo, hi int) {
	if panelPays(tokens, w) {
		lo = mulPanels(dst, x, tokens, w, lo, hi)
	}
	for t := 0; t < tokens; {
		n := min(tokens-t, 3)
		if tokens-t == 4 {
			n = 2
		}
		mulTokens(dst[t*w.Rows:], w.Rows, x[t*w.Cols:], n, w, lo, hi)
		t += n
	}
}

// operands is the parameter of the assembly: for tokens t and rows r of a register tile
//
//	dst[t*dstStride + r] = dot(x[t*xStride:], w[r*wStride:])
//
// Strides are in bytes. kernels/gen has the names of the fields in this order.
type operands struct {
	dst            *float32
	dstStride      int
	x              *float32
	xStride        int
	w              *byte
	wStride        int
	blocks         int      // of 16 columns
	scales         *float32 // E4M3: one for each 8 blocks, the same for all rows of the tile
	exponents      *byte    // MXFP4: one for each 2 blocks; Q8 and Q4: see beforeScale
	exponentStride int
	xTail          int // where the block of the tile's first token is in tailBlocks
}

// tailBlocks is what is left of a tile's rows after the last whole block, padded to a block:
// activations with +0 and weights with -0, whose product -0 changes no sum.
type tailBlocks struct {
	x [3 * lanes]float32
	w [tileRows * lanes]float32
}

// mulTokens computes dst[t*dstStride+r] for 1, 2 or 3 tokens and rows lo to hi.
func mulTokens(dst []float32, dstStride int, x []float32, tokens int, w *Matrix, lo, hi int) {
	from := w.Cols / lanes * lanes
	if from == w.Cols {
		mulTiles(dst, dstStride, x, tokens, w, lo, hi, nil)
		return
	}
	var tail tailBlocks
	for t := range tokens {
		copy(tail.x[t*lanes:], x[t*w.Cols+from:][:w.Cols-from])
	}
	mulTiles(dst, dstStride, x, tokens, w, lo, hi, &tail)
}

// mulTiles does whole register tiles, and rows left over one by one. tail holds the tails of x, or
// is nil if there are none.
func mulTiles(dst []float32, dstStride int, x []float32, tokens int, w *Matrix, lo, hi int,
	tail *tailBlocks) {
	// The fields are assigned one by one, since a literal would be copied, and here, since nothing
	// they point to escapes so.
	var o operands
	o.dstStride, o.xStride, o.wStride = 4*dstStride, 4*w.Cols, w.stride()
	o.blocks, o.exponentStride = w.Cols/lanes, w.exponentStride()
	rows := rowsOfTile(w.Format, tokens)
	for r := lo; r < hi; {
		n, together := rows, tokens
		if r+n > hi || w.Format == E4M3 && w.scaleRow(r) != w.scaleRow(r+n-1) {
			n, together = 1, 1
		}
		o.w = &w.Data[r*o.wStride]
		switch w.Format {
		case E4M3:
			o.scales = &w.scales(r)[0]
		case MXFP4:
			o.exponents = &w.exponents(r)[0]
		case Q8, Q4:
			o.exponents, o.exponentStride = w.beforeScale(r, 0), o.wStride
		}
		if tail != nil {
			tail.decode(w, r, n)
		}
		for t := 0; t < tokens; t += together {
			o.dst, o.x, o.xTail = &dst[t*dstStride+r], &x[t*w.Cols], 4*lanes*t
			mulTile(w.Format, together, n, (*byte)(unsafe.Pointer(&o)), (*byte)(unsafe.Pointer(tail)))
		}
		r += n
	}
}

// decode writes the tails of rows r to r+n.
func (tail *tailBlocks) decode(w *Matrix, r, n int) {
	for i := range n {
		decodeTail((*[lanes]float32)(tail.w[i*lanes:]), w, r+i)
	}
}

// decodeTail writes what is left of row r after the last whole block, padded with -0.
func decodeTail(block *[lanes]float32, w *Matrix, r int) {
	for l := range block {
		block[l] = math.Float32frombits(1 << 31)
	}
	from := w.Cols / lanes * lanes
	w.decodeGeneric(block[:w.Cols-from], r, from)
}

func mul3x2(f Format, operands, tail *byte) {
	switch f {
	case F32:
		mul3x2F32(operands, tail)
	case BF16:
		mul3x2BF16(operands, tail)
	case F16:
		mul3x2F16(operands, tail)
	case E4M3:
		mul3x2E4M3(operands, tail)
	case MXFP4:
		mul3x2MXFP4(operands, tail)
	case Q8:
		mul3x2Q8(operands, tail)
	case Q4:
		mul3x2Q4(operands, tail)
	}
}

func mul2x2(f Format, operands, tail *byte) {
	switch f {
	case F32:
		mul2x2F32(operands, tail)
	case BF16:
		mul2x2BF16(operands, tail)
	case F16:
		mul2x2F16(operands, tail)
	case E4M3:
		mul2x2E4M3(operands, tail)
	case MXFP4:
		mul2x2MXFP4(operands, tail)
	case Q8:
		mul2x2Q8(operands, tail)
	case Q4:
		mul2x2Q4(operands, tail)
	}
}

func mul1x4(f Format, operands, tail *byte) {
	switch f {
	case F32:
		mul1x4F32(operands, tail)
	case BF16:
		mul1x4BF16(operands, tail)
	case F16:
		mul1x4F16(operands, tail)
	case E4M3:
		mul1x4E4M3(operands, tail)
	case MXFP4:
		mul1x4MXFP4(operands, tail)
	case Q8:
		mul1x4Q8(operands, tail)
	case Q4:
		mul1x4Q4(operands, tail)
	}
}

func mul1x1(f Format, operands, tail *byte) {
	switch f {
	case F32:
		mul1x1F32(operands, tail)
	case BF16:
		mul1x1BF16(operands, tail)
	case F16:
		mul1x1F16(operands, tail)
	case E4M3:
		mul1x1E4M3(operands, tail)
	case MXFP4:
		mul1x1MXFP4(operands, tail)
	case Q8:
		mul1x1Q8(operands, tail)
	case Q4:
		mul1x1Q4(operands, tail)
	}
}

// beforeScale points at the two bytes before the scale, in row r of Q8 or Q4, of column from: the
// assembly reads scales by four bytes.
func (m *Matrix) beforeScale(r, from int) *byte {
	return &m.Data[r*m.stride()+m.Format.quantBytes(m.Cols)+from/quantGroup*quantScale-quantScale]
}
