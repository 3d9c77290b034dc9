package kernels

import "math"

// Rotary is the frequencies of a rotary embedding: inv_i = theta^(-2i/dims) for each of dims/2
// pairs, computed in float64 and rounded to float32. Su et al., "RoFormer", 2021.
type Rotary struct{ inverse []float32 }

// NewRotary returns the frequencies for the first dims values of a head.
func NewRotary(theta float64, dims int) Rotary {
	r := Rotary{make([]float32, dims/2)}
	for i := range r.inverse {
		r.inverse[i] = float32(math.Pow(theta, -float64(2*i)/float64(dims)))
	}
	return r
}

// Table fills cos and sin, dims/2 each, for position pos: the angle of pair i is pos·inv_i, a
// float32 product, and its cosine and sine are rounded from float64, as the reference models do.
// They come from package math, so that an odd bit, about one in 10⁸, may differ on another
// architecture.
func (r Rotary) Table(pos int, cos, sin []float32) {
	if len(cos) != len(r.inverse) || len(sin) != len(r.inverse) {
		panic("kernels: Rotary.Table needs dims/2 cosines and sines")
	}
	for i, inverse := range r.inverse {
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
