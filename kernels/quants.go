package kernels

import "math"

// quantGroups returns the groups of n columns of Q8 or Q4.
func quantGroups(n int) int { return (n + quantGroup - 1) / quantGroup }

// quantBytes returns the bytes of the quants of n columns of Q8 or Q4.
func (f Format) quantBytes(n int) int {
	if f == Q4 {
		return quantGroups(n) * quantGroup / 2
	}
	return quantGroups(n) * quantGroup
}

// quantsAt returns where in a row the bytes of a column are, which begins a block of weights that
// share something.
func (m *Matrix) quantsAt(from int) int {
	if m.Format == Q8 || m.Format == Q4 {
		return m.Format.quantBytes(from)
	}
	return m.Format.Bytes(from)
}

// quantScales returns the scales of a row of Q8 or Q4, from that of a column on.
func (m *Matrix) quantScales(row []byte, from int) []byte {
	return row[m.Format.quantBytes(m.Cols)+from/quantGroup*quantScale:]
}

// decodeQuants is decodeGeneric for a row of Q8 or Q4.
func (m *Matrix) decodeQuants(dst []float32, row []byte, from int) {
	for len(dst) > 0 {
		group, in := from/quantGroup, from%quantGroup
		n := min(len(dst), quantGroup-in)
		s := m.quantScales(row, from)
		scale := math.Float32frombits(uint32(s[0])<<16 | uint32(s[1])<<24)
		if m.Format == Q8 {
			decodeQ8(dst[:n], row[group*quantGroup+in:], scale)
		} else {
			decodeQ4(dst[:n], row[group*quantGroup/2:], in, scale)
		}
		dst, from = dst[n:], from+n
	}
}

// decodeQ8 scales quants of a group.
func decodeQ8(dst []float32, src []byte, scale float32) {
	for i, q := range src[:len(dst)] {
		dst[i] = float32(int8(q)) * scale
	}
}

// decodeQ4 scales quants of a group from column in on. It is a fused multiply-add, as in the
// assembly, for the sake of scales that no quantiser makes: only those overflow.
func decodeQ4(dst []float32, group []byte, in int, scale float32) {
	zero := -8 * scale
	for i := range dst {
		c := in + i
		q := group[c%(quantGroup/2)] >> (c / (quantGroup / 2) * 4) & 15
		dst[i] = fma32(float32(q), scale, zero)
	}
}
