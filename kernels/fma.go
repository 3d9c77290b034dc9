package kernels

import "math"

// fma32 returns a*b + c rounded once to float32.
//
// The product of two float32 is exact in float64. The sum is rounded to float64 and then to
// float32, which differs from rounding once in two cases only: when the float64 lies exactly
// half-way between two float32 (its low 29 bits are 1000…0), and when the result is a float32
// subnormal, whose half-way points lie elsewhere. Those take the slow path.
func fma32(a, b, c float32) float32 {
	p := float64(a) * float64(b)
	s := float64(p) + float64(c)
	if bits := math.Float64bits(s); bits&tieMask != tie && bits&magnitudeMask >= minNormal {
		return float32(s)
	}
	return fmaHard(p, float64(c), s)
}

const (
	tieMask       = 1<<29 - 1           // the bits of a float64 that a float32 has no room for
	tie           = 1 << 28             // ... at exactly half a float32 ulp
	magnitudeMask = 1<<63 - 1           // everything but the sign
	minNormal     = (1023 - 126) << 52  // 2^-126, the least normal float32, as float64 bits
	infinity      = uint64(0x7ff) << 52 // the least bits of a magnitude that is not finite
)

// fmaHard rounds p + c to float32, given s = p + c rounded to float64: it makes s round-to-odd (an
// inexact result ends in a one bit, so that it is never taken for a tie) and rounds that.
// Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008.
func fmaHard(p, c, s float64) float32 {
	bits := math.Float64bits(s)
	if bits&magnitudeMask >= infinity {
		return float32(s)
	}
	// TwoSum (Knuth): p + c = s + e exactly. Only additions, so nothing can be fused.
	pp := s - c
	cc := s - pp
	e := (p - pp) + (c - cc)
	if e == 0 || bits&1 == 1 {
		return float32(s)
	}
	if (e > 0) == (s > 0) { // the exact sum is larger in magnitude than s
		bits++
	} else {
		bits--
	}
	return float32(math.Float64frombits(bits))
}
