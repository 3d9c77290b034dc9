package kernels

import "math"

// RotaryTable fills cos and sin, dims/2 each, for position pos: the angle of pair i is pos·inv_i
// with inv_i = theta^(-2i/dims). inv_i is computed in float64 and rounded to float32, the angle is
// a float32 product, and its cosine and sine are rounded from float64, as the reference models do.
// (The float64 functions are package math's, which another architecture may round differently; of
// the float32 results one in some 10^8 could then differ.)
// Su et al., "RoFormer", 2021.
func RotaryTable(theta float64, dims, pos int, cos, sin []float32) {
	if len(cos) != dims/2 || len(sin) != dims/2 {
		panic("kernels: RotaryTable needs dims/2 cosines and sines")
	}
	for i := range cos {
		inverse := float32(math.Pow(theta, -float64(2*i)/float64(dims)))
		s, c := math.Sincos(float64(float32(pos) * inverse))
		cos[i], sin[i] = float32(c), float32(s)
	}
}

// RopeHalf rotates x, of 2·len(cos) elements, in place by the half-split convention: with h =
// len(cos), the pair (x[i], x[i+h]) becomes (x[i]c - x[i+h]s, x[i+h]c + x[i]s).
func RopeHalf(x, cos, sin []float32) {
	h := len(cos)
	if len(sin) != h || len(x) != 2*h {
		panic("kernels: RopeHalf needs len(x) = 2*len(cos) = 2*len(sin)")
	}
	low, high := x[:h], x[h:]
	for i, c := range cos {
		a, b, s := low[i], high[i], sin[i]
		low[i] = float32(a*c) - float32(b*s)
		high[i] = float32(b*c) + float32(a*s)
	}
}
