package kernels

import (
	"encoding/binary"
	"math"
	"runtime"
)

// The interleaved formats hold what Q8, Q4 and MXFP4 do in another order, for products with Rounded
// activations. Rows go by bands of sixteen, columns by groups of 32. A band's groups follow one
// another, each of them
//
//	16 scales      of the rows, the upper halves of float32
//	8 or 4 blocks  of 64 bytes: four bytes of each row
//
// A block of Q8x16 has four columns of every row, quants plus 128. Blocks of the others have eight:
// four in the low halves of the bytes, the next four in the high ones. So a register's words are
// the rows, whose sums need not be added up across it, and one token reads memory from end to end.
// What rows and columns beyond the last are does not matter.
const (
	bandRows   = 16
	blockBytes = 4 * bandRows
	bandScales = bandRows * quantScale
)

// Interleaved reports whether products with the format are those of Rounded activations.
func (f Format) Interleaved() bool { return f >= Q8x16 && f <= MXFP4x16 }

// bandBytes returns the bytes of a group of a band.
func (f Format) bandBytes() int {
	if f == Q8x16 {
		return bandScales + quantGroup*bandRows
	}
	return bandScales + quantGroup*bandRows/2
}

// MatrixBytes returns the bytes of a dense matrix.
func (f Format) MatrixBytes(rows, cols int) int {
	if f.Interleaved() {
		return (rows + bandRows - 1) / bandRows * quantGroups(cols) * f.bandBytes()
	}
	return rows * f.Bytes(cols)
}

// rowFormat returns the format whose quants an interleaved one has.
func (f Format) rowFormat() Format {
	switch f {
	case Q8x16:
		return Q8
	case Q4x16:
		return Q4
	}
	return MXFP4
}

// Interleave writes rows lo to hi of src to the same rows of dst, whose format is src's interleaved
// one: Q8x16 for Q8, Q4x16 for Q4, MXFP4x16 for MXFP4. Values stay what they are, but for MXFP4's
// exponent 255, which becomes the NaN that it is by definition. Rows are independent.
func Interleave(dst, src Matrix, lo, hi int) {
	dst.check()
	src.check()
	if !dst.Format.Interleaved() || dst.Format.rowFormat() != src.Format ||
		dst.Rows != src.Rows || dst.Cols != src.Cols {
		panic("kernels: Interleave needs a matrix of the source's interleaved format and its size")
	}
	if lo < 0 || hi < lo || hi > src.Rows {
		panic("kernels: Interleave needs rows of the matrix")
	}
	for r := lo; r < hi; r++ {
		for g := range quantGroups(src.Cols) {
			codes, scale := src.group(r, g)
			dst.setGroup(r, g, &codes, scale)
		}
	}
	runtime.KeepAlive(dst.Owner)
	runtime.KeepAlive(src.Owner)
}

// group returns a group of a row of Q8, Q4 or MXFP4 as an interleaved format has it: numbers
// without a sign, and the scale.
func (m *Matrix) group(r, g int) (codes [quantGroup]byte, scale uint16) {
	row := m.Row(r)
	switch m.Format {
	case Q8:
		for i, q := range row[g*quantGroup:][:quantGroup] {
			codes[i] = q ^ 0x80
		}
	case Q4:
		const half = quantGroup / 2
		for i, q := range row[g*half:][:half] {
			codes[i], codes[half+i] = q&15, q>>4
		}
	case MXFP4:
		for i, q := range row[g*quantGroup/2:][:quantGroup/2] {
			codes[2*i], codes[2*i+1] = q&15, q>>4
		}
		return codes, halfOfPower(m.exponents(r)[g])
	}
	return codes, binary.LittleEndian.Uint16(m.quantScales(row, g*quantGroup))
}

// halfOfPower returns the upper half of 2^(e-128), since quants of MXFP4x16 are twice E2M1's
// numbers.
func halfOfPower(e byte) uint16 {
	switch e {
	case 0:
		return 1 << 5
	case 1:
		return 1 << 6
	case 0xff:
		return 0x7fc0
	}
	return uint16(e-1) << 7
}

// band returns group g of row r's band.
func (m *Matrix) band(r, g int) []byte {
	size := m.Format.bandBytes()
	return m.Data[(r/bandRows*quantGroups(m.Cols)+g)*size:][:size]
}

func (m *Matrix) setGroup(r, g int, codes *[quantGroup]byte, scale uint16) {
	band, row := m.band(r, g), r%bandRows
	binary.LittleEndian.PutUint16(band[row*quantScale:], scale)
	blocks := band[bandScales:]
	for c := 0; c < quantGroup; c += 4 {
		if m.Format == Q8x16 {
			copy(blocks[c/4*blockBytes+4*row:], codes[c:c+4])
			continue
		}
		to := blocks[c/8*blockBytes+4*row:][:4]
		for i := range to {
			if c%8 == 0 {
				to[i] = to[i]&^15 | codes[c+i]
			} else {
				to[i] = to[i]&15 | codes[c+i]<<4
			}
		}
	}
}

// quant returns the integer of a column of group g of a row.
func (m *Matrix) quant(r, g, c int) int32 {
	blocks, row := m.band(r, g)[bandScales:], r%bandRows
	if m.Format == Q8x16 {
		return int32(blocks[c/4*blockBytes+4*row+c%4]) - 128
	}
	code := blocks[c/8*blockBytes+4*row+c%4] >> (c / 4 % 2 * 4) & 15
	if m.Format == Q4x16 {
		return int32(code) - 8
	}
	return twiceE2M1[code]
}

// twiceE2M1 is the numbers of E2M1, times two.
var twiceE2M1 = [16]int32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}

// bandScale returns the scale of group g of a row.
func (m *Matrix) bandScale(r, g int) float32 {
	scale := binary.LittleEndian.Uint16(m.band(r, g)[r%bandRows*quantScale:])
	return math.Float32frombits(uint32(scale) << 16)
}

// decodeInterleaved writes len(dst) weights of row r from column from on.
func (m *Matrix) decodeInterleaved(dst []float32, r, from int) {
	for i := range dst {
		g, c := (from+i)/quantGroup, (from+i)%quantGroup
		q, scale := m.quant(r, g, c), m.bandScale(r, g)
		if m.Format == Q4x16 {
			dst[i] = fma32(float32(q+8), scale, -8*scale) // as decodeQ4 does, for the sign of zeros
		} else {
			dst[i] = float32(q) * scale
		}
	}
}
