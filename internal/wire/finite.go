package wire

import "encoding/binary"

// Finite reports whether body, elements in format f, holds neither infinities nor what is
// not a number: whether no exponent is all ones. Adding one to the masked exponents carries
// into the sign bit exactly then, so eight bytes are looked at together.
func (f Format) Finite(body []byte) bool {
	exponents, one, sign := uint64(0x7f80_0000_7f80_0000), uint64(0x0080_0000_0080_0000),
		uint64(0x8000_0000_8000_0000)
	if f == BF16 {
		exponents, one, sign = 0x7f80_7f80_7f80_7f80, 0x0080_0080_0080_0080, 0x8000_8000_8000_8000
	}
	var seen uint64
	for len(body) >= 32 {
		b := body[:32:32]
		seen |= binary.LittleEndian.Uint64(b)&exponents + one
		seen |= binary.LittleEndian.Uint64(b[8:])&exponents + one
		seen |= binary.LittleEndian.Uint64(b[16:])&exponents + one
		seen |= binary.LittleEndian.Uint64(b[24:])&exponents + one
		body = body[32:]
	}
	for len(body) > 0 {
		var last [8]byte
		body = body[copy(last[:], body):]
		seen |= binary.LittleEndian.Uint64(last[:])&exponents + one
	}
	return seen&sign == 0
}
