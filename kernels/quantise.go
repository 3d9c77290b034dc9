package kernels

import (
	"encoding/binary"
	"math"
	"runtime"
)

// Quantize writes rows lo to hi of src, which is of any format, to the same rows of dst, which is
// of format Q8, Q4, Q8x16 or Q4x16 and as large. Rows are independent. row is scratch memory,
// [Cols].
//
//	Q8   s = bf16(max|w| / 127)      q = w / s, rounded, at least -127 and at most 127
//	Q4   s = bf16(e / -8 * factor)   q = w / s, rounded, at least -8 and at most 7, plus 8
//
// Of Q4, e is the first w of greatest magnitude, which so becomes -8 or nearly, and the factor is
// the one of q4Factors that leaves the least sum of squared errors, added up in lanes as a dot
// product is but without fusing; the first of several such. A scale of 0 has quants that stand for
// 0. All is float32's arithmetic, and rounds to nearest, ties to even. src must be finite.
func Quantize(dst, src Matrix, lo, hi int, row []float32) {
	dst.check()
	src.check()
	rows := dst.Format
	if rows.Interleaved() {
		rows = rows.rowFormat()
	}
	if rows != Q8 && rows != Q4 || dst.Rows != src.Rows || dst.Cols != src.Cols {
		panic("kernels: Quantize needs a Q8 or Q4 matrix, interleaved or not, of the source's size")
	}
	if lo < 0 || hi < lo || hi > src.Rows || len(row) != src.Cols {
		panic("kernels: Quantize needs rows of the matrix and len(row) = Cols")
	}
	for r := lo; r < hi; r++ {
		DecodeRow(row, src, r)
		quantizeRow(&dst, r, row)
	}
	runtime.KeepAlive(dst.Owner)
}

func quantizeRow(dst *Matrix, r int, row []float32) {
	if dst.Format.Interleaved() {
		quantizeBand(dst, r, row)
		return
	}
	to := dst.Row(r)
	scales := dst.quantScales(to, 0)
	for g := range quantGroups(len(row)) {
		var group [quantGroup]float32 // the last one is padded
		copy(group[:], row[g*quantGroup:])
		var scale uint16
		if dst.Format == Q8 {
			scale = quantizeQ8((*[quantGroup]byte)(to[g*quantGroup:]), &group)
		} else {
			scale = quantizeQ4((*[quantGroup / 2]byte)(to[g*quantGroup/2:]), &group)
		}
		binary.LittleEndian.PutUint16(scales[g*quantScale:], scale)
	}
}

// quantizeBand is quantizeRow for an interleaved format: a group at a time goes to its place.
func quantizeBand(dst *Matrix, r int, row []float32) {
	var memory [quantGroup + quantScale]byte
	one := Matrix{Format: dst.Format.rowFormat(), Rows: 1, Data: memory[:]}
	for g := range quantGroups(len(row)) {
		part := row[g*quantGroup : min((g+1)*quantGroup, len(row))]
		one.Cols = len(part)
		quantizeRow(&one, 0, part)
		codes, scale := one.group(0, 0)
		dst.setGroup(r, g, &codes, scale)
	}
}

const (
	// shifter added to a small number leaves no fraction: the sum's lowest bits are an integer.
	shifter = 0x1.8p23
	// maxQuantised bounds what a scale is made of: see Matrix. Weights beyond it do not exist.
	maxQuantised = 0x1p119
	leastNormal  = 0x1p-126
)

// extreme returns the first number of greatest magnitude, within the bound.
func extreme(group *[quantGroup]float32) float32 {
	var most uint32 // a magnitude's bits: they order as magnitudes do
	at := 0
	for i, w := range group {
		if m := math.Float32bits(w) &^ (1 << 31); m > most {
			most, at = m, i
		}
	}
	return min(max(group[at], -maxQuantised), maxQuantised)
}

// quantizeQ8 returns the scale's bits.
func quantizeQ8(dst *[quantGroup]byte, group *[quantGroup]float32) uint16 {
	bits := bfloat(float32(math.Abs(float64(extreme(group)))) / 127)
	scale := math.Float32frombits(uint32(bits) << 16)
	if scale == 0 {
		clear(dst[:])
		return 0
	}
	if scale < leastNormal || scale > maxQuantised/128 { // what the scale's rounding does is not small
		for i, w := range group {
			dst[i] = byte(math.Float32bits(min(max(w/scale, -127), 127) + shifter))
		}
		return bits
	}
	for i, w := range group {
		dst[i] = byte(math.Float32bits(w/scale + shifter))
	}
	return bits
}

// q4Factors are tried in this order. A wider range than the group's is not worth trying, and
// narrower ones clip too much.
var q4Factors = [...]float32{1, 0.9375, 0.875, 0.8125, 0.75}

// quantizeQ4 returns the scale's bits.
func quantizeQ4(dst *[quantGroup / 2]byte, group *[quantGroup]float32) uint16 {
	base := extreme(group) / -8
	var best uint16
	least := float32(math.Inf(1))
	for _, factor := range q4Factors {
		bits := bfloat(base * factor)
		scale := math.Float32frombits(uint32(bits) << 16)
		if scale == 0 {
			continue
		}
		e := float32(0)
		if fastPath {
			e = errorQ4Fast(group, scale)
		} else {
			e = errorQ4(group, scale)
		}
		if best == 0 || e < least { // errors may be infinite
			best, least = bits, e
		}
	}
	scale := math.Float32frombits(uint32(best) << 16)
	if scale == 0 {
		for i := range dst {
			dst[i] = 0x88
		}
		return 0
	}
	for i := range dst {
		low, high := nearestQ4(group[i], scale), nearestQ4(group[len(dst)+i], scale)
		dst[i] = byte(low+8) | byte(high+8)<<4
	}
	return best
}

// nearestQ4 rounds w/s to an integer from -8 to 7.
func nearestQ4(w, s float32) float32 {
	v := w / s
	if v > 7 {
		return 7
	}
	if v < -8 {
		return -8
	}
	return (v + shifter) - shifter
}

// errorQ4 is the sum of squared errors under a scale.
func errorQ4(group *[quantGroup]float32, scale float32) float32 {
	var acc [lanes]float32
	for i, w := range group {
		d := w - float32(nearestQ4(w, scale)*scale)
		acc[i%lanes] += float32(d * d)
	}
	return reduce(&acc)
}
