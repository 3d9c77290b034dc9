package kernels

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// dots chooses integer dot products of 512 bits, where wide does registers of that size.
var dots = cpu.X86.HasAVX512VNNI

// roundFast rounds groups of a token, whose first is from, and returns how many: a multiple of
// four. (Where a scale is NaN, quants are others than the twin's, and do not matter.)
func roundFast(x *Rounded, from int, row []float32) int {
	fours := len(row) / (4 * quantGroup)
	if fours > 0 {
		roundAVX2(&x.quants[from*quantGroup], &x.scales[from], &x.sums[from], &row[0], fours)
	}
	return 4 * fours
}

// roundedOperands is the parameter of the assembly: for tokens t, and rows r < 16 of a band
//
//	dst[16*t + r] = product of x[t*xStride:] and row r of w
//
// Strides are in bytes. kernels/gen has the names of the fields in this order.
type roundedOperands struct {
	dst     *float32
	x       *int8
	xStride int
	scales  *float32
	sums    *int32
	stride  int // of scales and sums
	w       *byte
	groups  int     // at least 1
	end     uintptr // see type ahead
	then    int
}

// mulBandFast is mulBand for at least one group.
func mulBandFast(dst []float32, x *Rounded, t, n int, w *Matrix, r int, a ahead) {
	var memory [8 * bandRows]float32
	var o roundedOperands
	o.dst, o.w, o.groups = &memory[0], &w.band(r, 0)[0], x.groups
	o.xStride, o.stride = x.groups*quantGroup, 4*x.groups
	o.end, o.then = a.end, a.then
	rows := min(bandRows, w.Rows-r)
	for i := 0; i < n; {
		at := (t + i) * x.groups
		o.x, o.scales, o.sums = &x.quants[at*quantGroup], &x.scales[at], &x.sums[at]
		tokens := bandTile(w.Format, n-i, (*byte)(unsafe.Pointer(&o)))
		for k := range tokens {
			copy(dst[(i+k)*w.Rows+r:][:rows], memory[k*bandRows:])
		}
		i += tokens
	}
}

// bandTile does as many of n tokens as there is a tile for, and returns how many.
func bandTile(f Format, n int, operands *byte) int {
	most, tokens := 8, 1
	if !wide || !dots {
		most = 4
	}
	for tokens < most && 2*tokens <= n {
		tokens *= 2
	}
	switch {
	case most == 4:
		bandAVX2(f, tokens, operands)
	case f == Q8x16:
		bandQ8VNNI(tokens, operands)
	case f == Q4x16:
		bandQ4VNNI(tokens, operands)
	default:
		bandMXFP4VNNI(tokens, operands)
	}
	return tokens
}

func bandQ8VNNI(tokens int, operands *byte) {
	switch tokens {
	case 1:
		band1x16Q8VNNI(operands)
	case 2:
		band2x16Q8VNNI(operands)
	case 4:
		band4x16Q8VNNI(operands)
	default:
		band8x16Q8VNNI(operands)
	}
}

func bandQ4VNNI(tokens int, operands *byte) {
	switch tokens {
	case 1:
		band1x16Q4VNNI(operands)
	case 2:
		band2x16Q4VNNI(operands)
	case 4:
		band4x16Q4VNNI(operands)
	default:
		band8x16Q4VNNI(operands)
	}
}

func bandMXFP4VNNI(tokens int, operands *byte) {
	switch tokens {
	case 1:
		band1x16MXFP4VNNI(operands)
	case 2:
		band2x16MXFP4VNNI(operands)
	case 4:
		band4x16MXFP4VNNI(operands)
	default:
		band8x16MXFP4VNNI(operands)
	}
}

func bandAVX2(f Format, tokens int, operands *byte) {
	switch f {
	case Q8x16:
		switch tokens {
		case 1:
			band1x16Q8AVX2(operands)
		case 2:
			band2x16Q8AVX2(operands)
		default:
			band4x16Q8AVX2(operands)
		}
	case Q4x16:
		switch tokens {
		case 1:
			band1x16Q4AVX2(operands)
		case 2:
			band2x16Q4AVX2(operands)
		default:
			band4x16Q4AVX2(operands)
		}
	default:
		switch tokens {
		case 1:
			band1x16MXFP4AVX2(operands)
		case 2:
			band2x16MXFP4AVX2(operands)
		default:
			band4x16MXFP4AVX2(operands)
		}
	}
}
