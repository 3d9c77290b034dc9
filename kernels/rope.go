package kernels

import "math"

// Rotary is the frequencies inv_i of a rotary embedding, one for each of dims/2 pairs, and the
// magnitude of its cosines and sines. Su et al., "RoFormer", 2021.
type Rotary struct {
	inverse   []float32
	magnitude float32
}

// NewRotary returns the frequencies for the first dims values of a head: inv_i = theta^(-2i/dims),
// computed in float64 and rounded to float32.
func NewRotary(theta float64, dims int) Rotary {
	r := Rotary{make([]float32, dims/2), 1}
	for i := range r.inverse {
		r.inverse[i] = float32(frequency(theta, dims, i))
	}
	return r
}

// frequency returns theta^(-2i/dims).
func frequency(theta float64, dims, i int) float64 {
	return math.Pow(theta, -float64(2*i)/float64(dims))
}

// Yarn extends the context that a model was trained on. Peng et al., "YaRN: Efficient Context
// Window Extension of Large Language Models", 2023.
type Yarn struct {
	Factor   float64 // how many times Original the context becomes: slow pairs turn 1/Factor as fast
	Original int     // positions of the original context
	// Pairs that turn BetaFast times and more over the original context keep their frequency; those
	// that turn BetaSlow times and less are slow; in between there is a ramp, which begins and ends at
	// whole pairs if Truncate is set.
	BetaFast, BetaSlow float64
	Truncate           bool
	Magnitude          float64 // multiplies cosines and sines; 0 means 1
}

// NewYarn returns the frequencies that YaRN gives the first dims values of a head. With
//
//	pair(turns) = dims · ln(Original / (2π·turns)) / (2·ln(theta))
//	low, high   = pair(BetaFast), pair(BetaSlow)         whole if Truncate; within 0 and dims-1
//	ramp_i      = (i - low) / (high - low)               within 0 and 1
//
// inv_i = theta^(-2i/dims) · (ramp_i/Factor + 1 - ramp_i), in float64, rounded to float32.
func NewYarn(theta float64, dims int, y Yarn) Rotary {
	pair := func(turns float64) float64 {
		return float64(dims) * math.Log(float64(y.Original)/(2*math.Pi*turns)) / (2 * math.Log(theta))
	}
	low, high := pair(y.BetaFast), pair(y.BetaSlow)
	if y.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(dims-1))
	if low == high {
		high += 0.001 // a ramp of no length, as the reference has it
	}
	r := Rotary{make([]float32, dims/2), float32(y.Magnitude)}
	if y.Magnitude == 0 {
		r.magnitude = 1
	}
	for i := range r.inverse {
		ramp := min(max((float64(i)-low)/(high-low), 0), 1)
		f := frequency(theta, dims, i)
		r.inverse[i] = float32(float64(ramp*f/y.Factor) + float64((1-ramp)*f))
	}
	return r
}

// Table fills cos and sin, dims/2 each, for position pos: the angle of pair i is pos·inv_i, a
// float32 product, and its cosine and sine are rounded from float64, as the reference models do,
// and then multiplied by the magnitude. They come from package math, so that an odd bit, about one
// in 10⁸, may differ on another architecture.
func (r Rotary) Table(pos int, cos, sin []float32) {
	if len(cos) != len(r.inverse) || len(sin) != len(r.inverse) {
		panic("kernels: Rotary.Table needs dims/2 cosines and sines")
	}
	for i, inverse := range r.inverse {
		s, c := math.Sincos(float64(float32(pos) * inverse))
		cos[i], sin[i] = float32(c)*r.magnitude, float32(s)*r.magnitude
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
	n := 0
	if fastPath {
		n = ropeHalfFast(low, high, cos, sin)
	}
	for i := n; i < h; i++ {
		a, b, c, s := low[i], high[i], cos[i], sin[i]
		low[i] = float32(a*c) - float32(b*s)
		high[i] = float32(b*c) + float32(a*s)
	}
}

// RopeInterleaved rotates x, of 2·len(cos) elements, in place by the interleaved convention: the
// pair (x[2i], x[2i+1]) becomes (x[2i]c - x[2i+1]s, x[2i+1]c + x[2i]s).
func RopeInterleaved(x, cos, sin []float32) {
	if len(sin) != len(cos) || len(x) != 2*len(cos) {
		panic("kernels: RopeInterleaved needs len(x) = 2*len(cos) = 2*len(sin)")
	}
	n := 0
	if fastPath {
		n = ropeInterleavedFast(x, cos, sin)
	}
	for i := n; i < len(cos); i++ {
		a, b, c, s := x[2*i], x[2*i+1], cos[i], sin[i]
		x[2*i] = float32(a*c) - float32(b*s)
		x[2*i+1] = float32(b*c) + float32(a*s)
	}
}
