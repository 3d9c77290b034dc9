package kernels

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// dotProducts says whether there are dot products of four bytes, as in every processor since 2018.
var dotProducts = cpu.ARM64.HasASIMDDP

// roundFast leaves the rounding of activations, little beside their products, to the twin.
func roundFast(_ *Rounded, _ int, _ []float32) int { return 0 }

// roundedOperands is the parameter of the assembly: for tokens t, and rows r < 16 of a band
//
//	dst[16*t + r] = product of x[t*xStride:] and row r of w
//
// Strides are in bytes. kernels/gen/neon has the names of the fields in this order.
type roundedOperands struct {
	dst     *float32
	x       *int8
	xStride int
	scales  *float32
	stride  int // of scales
	w       *byte
	groups  int // at least 1
}

// mulBandFast is mulBand for at least one group.
func mulBandFast(dst []float32, x *Rounded, t, n int, w *Matrix, r int, _ ahead) {
	if !dotProducts {
		mulBandGeneric(dst, x, t, n, w, r)
		return
	}
	var memory [4 * bandRows]float32
	var o roundedOperands
	o.dst, o.w, o.groups = &memory[0], &w.band(r, 0)[0], x.groups
	o.xStride, o.stride = x.groups*quantGroup, 4*x.groups
	rows := min(bandRows, w.Rows-r)
	for i := 0; i < n; {
		at := (t + i) * x.groups
		o.x, o.scales = &x.quants[at*quantGroup], &x.scales[at]
		tokens := min(n-i, 4)
		if tokens == 3 {
			tokens = 2
		}
		bandTile(w.Format, tokens, (*byte)(unsafe.Pointer(&o)))
		for k := range tokens {
			copy(dst[(i+k)*w.Rows+r:][:rows], memory[k*bandRows:])
		}
		i += tokens
	}
}

// bandTile does one token, two or four.
func bandTile(f Format, tokens int, operands *byte) {
	switch f {
	case Q8x16:
		bandQ8(tokens, operands)
	case Q4x16:
		bandQ4(tokens, operands)
	default:
		bandMXFP4(tokens, operands)
	}
}

func bandQ8(tokens int, operands *byte) {
	switch tokens {
	case 1:
		band1x16Q8Dot(operands)
	case 2:
		band2x16Q8Dot(operands)
	default:
		band4x16Q8Dot(operands)
	}
}

func bandQ4(tokens int, operands *byte) {
	switch tokens {
	case 1:
		band1x16Q4Dot(operands)
	case 2:
		band2x16Q4Dot(operands)
	default:
		band4x16Q4Dot(operands)
	}
}

func bandMXFP4(tokens int, operands *byte) {
	switch tokens {
	case 1:
		band1x16MXFP4Dot(operands)
	case 2:
		band2x16MXFP4Dot(operands)
	default:
		band4x16MXFP4Dot(operands)
	}
}
