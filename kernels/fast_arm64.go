package kernels

import "unsafe"

// fastPath chooses the assembly, whose instructions every arm64 processor has. Tests clear it to
// run the plain twin.
var fastPath = true

// Features names the path in use.
func Features() string {
	if !fastPath {
		return "generic"
	}
	return "neon"
}

// rowsOfTile returns the rows of a tile of 1, 2 or 3 tokens.
func rowsOfTile(_ Format, tokens int) int {
	if tokens == 1 {
		return tileRows
	}
	return 2
}

// mulTile computes a tile of rowsOfTile rows, or of one token and one row.
func mulTile(f Format, tokens, rows int, operands, tail *byte) {
	switch {
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

// decodeFast writes len(dst) weights of row r from column from on, which is a multiple of 128. What
// is read next is left to the processor to foresee.
func decodeFast(dst []float32, w *Matrix, r, from, _ int) {
	whole := len(dst) / lanes * lanes
	if whole > 0 {
		var o operands
		o.dst, o.w = &dst[0], &w.Data[r*w.stride()+w.quantsAt(from)]
		o.blocks = whole / lanes
		switch w.Format {
		case E4M3:
			o.scales = &w.scales(r)[from/scaleBlock]
		case MXFP4:
			o.exponents = &w.exponents(r)[from/exponentGroup]
		case Q8, Q4:
			o.exponents = w.beforeScale(r, from)
		}
		decodeBlocks(w.Format, (*byte)(unsafe.Pointer(&o)))
	}
	if whole < len(dst) {
		w.decodeGeneric(dst[whole:], r, from+whole)
	}
}

func decodeBlocks(f Format, operands *byte) {
	switch f {
	case F32:
		decodeF32NEON(operands)
	case BF16:
		decodeBF16NEON(operands)
	case F16:
		decodeF16NEON(operands)
	case E4M3:
		decodeE4M3NEON(operands)
	case MXFP4:
		decodeMXFP4NEON(operands)
	case Q8:
		decodeQ8NEON(operands)
	case Q4:
		decodeQ4NEON(operands)
	}
}

// addWeightedFast is addWeighted by the assembly of attention, which does columns by eights.
func addWeightedFast(acc, weights, values []float32, stride int) {
	columns := len(acc) / 8 * 8
	if columns > 0 {
		values1F32(&acc[0], 0, columns, &weights[0], 0, (*byte)(unsafe.Pointer(&values[0])), 4*stride,
			len(weights))
	}
	if columns < len(acc) {
		addWeightedGeneric(acc[columns:], weights, values[columns:], stride)
	}
}

func swiGLUFast(dst, gate, up []float32) {
	swiGLUNEON(unsafe.SliceData(dst), unsafe.SliceData(gate), unsafe.SliceData(up), len(dst))
}

func swiGLUClampedFast(dst, gate, up []float32, alpha, limit float32) {
	swiGLUClampedNEON(unsafe.SliceData(dst), unsafe.SliceData(gate), unsafe.SliceData(up), len(dst),
		alpha, limit)
}

func sigmoidFast(x []float32) { sigmoidNEON(unsafe.SliceData(x), len(x)) }

func errorQ4Fast(group *[quantGroup]float32, scale float32) float32 {
	return errorQ4NEON(&group[0], scale)
}

// peakAdds is the multiply-adds of one round of peakNEON, in float32.
const peakAdds = 24 * 4

// multiplyAddsFast is MultiplyAdds for n > 0.
func multiplyAddsFast(n int) int {
	peakNEON(n)
	return 2 * n * peakAdds
}

// readFast loads 64*lines bytes from each of four streams that begin stride bytes after each other.
func readFast(data []byte, stride, lines int) { readNEON(&data[0], stride, lines) }
