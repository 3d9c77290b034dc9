package kernels

//go:generate go run -C gen . -part mul -out ../mul_amd64.s -stubs ../mul_amd64.go -pkg kernels
//go:generate go run -C gen . -part attend -out ../attend_amd64.s -stubs ../attend_amd64.go -pkg kernels
//go:generate go run -C gen . -part gate -out ../gate_amd64.s -stubs ../gate_amd64.go -pkg kernels
//go:generate go run -C gen . -part rounded -out ../rounded_amd64.s -stubs ../rounded_amd64.go -pkg kernels
//go:generate go run -C gen . -part rows -out ../rows_amd64.s -stubs ../rows_amd64.go -pkg kernels

import (
	"math"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// fastPath chooses the assembly. Tests clear it to run the plain twin.
var fastPath = cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C

// wide chooses registers of 512 bits where there are both. The set is what every server processor
// with AVX-512 has.
var wide = fastPath && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ &&
	cpu.X86.HasAVX512VL

// Features names the path in use.
func Features() string {
	switch {
	case !fastPath:
		return "generic"
	case wide:
		return "avx512+avx2+fma+f16c"
	}
	return "avx2+fma+f16c"
}

// dotFast is Dot of slices of one length, which is not 0.
func dotFast(a, b []float32) float32 {
	var dst [1]float32
	var w Matrix // assigned field by field: a literal would be copied
	w.Rows, w.Cols, w.Stride = 1, len(a), 4*len(a)
	w.Data = unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), 4*len(b))
	mulTokens(dst[:], 0, a, 1, &w, 0, 1)
	return dst[0]
}

func addWeightedFast(acc, weights, values []float32, stride int) {
	addWeightedAVX2(&acc[0], len(acc), &weights[0], len(weights), &values[0], 4*stride)
}

func swiGLUFast(dst, gate, up []float32) {
	swiGLUAVX2(unsafe.SliceData(dst), unsafe.SliceData(gate), unsafe.SliceData(up), len(dst))
}

func swiGLUClampedFast(dst, gate, up []float32, alpha, limit float32) {
	swiGLUClampedAVX2(unsafe.SliceData(dst), unsafe.SliceData(gate), unsafe.SliceData(up), len(dst),
		alpha, limit)
}

func sigmoidFast(x []float32) { sigmoidAVX2(unsafe.SliceData(x), len(x)) }

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

// rowsOfTile returns the rows of a tile of 1, 2 or 3 tokens.
func rowsOfTile(f Format, tokens int) int {
	if tokens == 1 || wide && f > F16 {
		return tileRows
	}
	return 2
}

// mulTile computes a tile of rowsOfTile rows, or of one token and one row.
func mulTile(f Format, tokens, rows int, operands, tail *byte) {
	switch {
	case rows > 1 && wide && f > F16:
		mulWide(f, tokens, operands, tail)
	case tokens == 3:
		mul3x2(f, operands, tail)
	case tokens == 2:
		mul2x2(f, operands, tail)
	case rows > 1:
		mul1x4(f, operands, tail)
	default:
		mul1x1(f, operands, tail)
	}
}

// mulWide computes a tile in registers of 512 bits.
func mulWide(f Format, tokens int, operands, tail *byte) {
	switch tokens {
	case 1:
		mulWide1x4(f, operands, tail)
	case 2:
		mulWide2x4(f, operands, tail)
	default:
		mulWide3x4(f, operands, tail)
	}
}

func mulWide1x4(f Format, operands, tail *byte) {
	switch f {
	case E4M3:
		mul1x4E4M3AVX512(operands, tail)
	case MXFP4:
		mul1x4MXFP4AVX512(operands, tail)
	case Q8:
		mul1x4Q8AVX512(operands, tail)
	case Q4:
		mul1x4Q4AVX512(operands, tail)
	}
}

func mulWide2x4(f Format, operands, tail *byte) {
	switch f {
	case E4M3:
		mul2x4E4M3AVX512(operands, tail)
	case MXFP4:
		mul2x4MXFP4AVX512(operands, tail)
	case Q8:
		mul2x4Q8AVX512(operands, tail)
	case Q4:
		mul2x4Q4AVX512(operands, tail)
	}
}

func mulWide3x4(f Format, operands, tail *byte) {
	switch f {
	case E4M3:
		mul3x4E4M3AVX512(operands, tail)
	case MXFP4:
		mul3x4MXFP4AVX512(operands, tail)
	case Q8:
		mul3x4Q8AVX512(operands, tail)
	case Q4:
		mul3x4Q4AVX512(operands, tail)
	}
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

// decodeFast writes len(dst) weights of row r from column from on, which is a multiple of 128. It
// prefetches those of the row that is so many rows ahead.
func decodeFast(dst []float32, w *Matrix, r, from, ahead int) {
	whole := len(dst) / lanes * lanes
	if whole > 0 {
		var o operands
		o.dst, o.w = &dst[0], &w.Data[r*w.stride()+w.quantsAt(from)]
		o.wStride, o.blocks = ahead*w.stride(), whole/lanes
		p := (*byte)(unsafe.Pointer(&o))
		switch w.Format {
		case F32:
			decodeF32AVX2(p)
		case BF16:
			decodeBF16AVX2(p)
		case F16:
			decodeF16AVX2(p)
		case E4M3:
			o.scales = &w.scales(r)[from/scaleBlock]
			if wide {
				decodeE4M3AVX512(p)
			} else {
				decodeE4M3AVX2(p)
			}
		case MXFP4:
			o.exponents = &w.exponents(r)[from/exponentGroup]
			if wide {
				decodeMXFP4AVX512(p)
			} else {
				decodeMXFP4AVX2(p)
			}
		case Q8, Q4:
			o.exponents = w.beforeScale(r, from)
			decodeQuantsFast(w.Format, p)
		}
	}
	if whole < len(dst) {
		w.decodeGeneric(dst[whole:], r, from+whole)
	}
}

func decodeQuantsFast(f Format, operands *byte) {
	switch {
	case f == Q8 && wide:
		decodeQ8AVX512(operands)
	case f == Q8:
		decodeQ8AVX2(operands)
	case wide:
		decodeQ4AVX512(operands)
	default:
		decodeQ4AVX2(operands)
	}
}

// beforeScale points at the two bytes before the scale, in row r of Q8 or Q4, of column from: the
// assembly reads scales by four bytes.
func (m *Matrix) beforeScale(r, from int) *byte {
	return &m.Data[r*m.stride()+m.Format.quantBytes(m.Cols)+from/quantGroup*quantScale-quantScale]
}

func errorQ4Fast(group *[quantGroup]float32, scale float32) float32 {
	return errorQ4AVX2(&group[0], scale)
}
