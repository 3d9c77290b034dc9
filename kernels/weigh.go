package kernels

import "math"

// Weighing says what the weights of logits are: probabilities relative to the most likely token,
// as integers, so that their sums are exact.
type Weighing struct {
	Low     float32 // the least logit that has a weight
	_       uint32
	Top     float64 // the logit of the most likely token, which none is above
	Inverse float64 // 1 / temperature, above 0
	Scale   float64 // the weight of the most likely token, a power of two of at most 2^50
	Least   uint64  // lower weights are none
}

// Of returns the weight of a logit, which is no NaN: with d = (logit - Top)·Inverse,
//
//	⌊ ExpDown(d)·Scale + 1/2 ⌋
//
// or 0 for a logit below Low, for d < -32, and if it would be below Least.
func (p *Weighing) Of(logit float32) uint64 {
	if logit < p.Low {
		return 0
	}
	d := float64((float64(logit) - p.Top) * p.Inverse)
	if d < -32 {
		return 0
	}
	// The product is exact, so that nothing changes where a compiler fuses it with the sum.
	if w := uint64(ExpDown(d)*p.Scale + 0.5); w >= p.Least {
		return w
	}
	return 0
}

// Weigh sets dst to the weights of logits and returns their sum.
func (p *Weighing) Weigh(dst []uint64, logits []float32) (sum uint64) {
	if len(dst) != len(logits) {
		panic("kernels: Weigh needs room for just the logits")
	}
	n := 0
	if fastPath {
		n, sum = weighFast(dst, logits, p)
	}
	for i, l := range logits[n:] {
		w := p.Of(l)
		dst[n+i] = w
		sum += w
	}
	return sum
}

// ExpDown returns e^x for -700 < x <= 0 within 2 ulp, with the same bits on every architecture
// (math.Exp has several implementations). With x = k·ln2/32 + r, |r| <= ln2/64, it is 2^(k/32) from
// a table times the Taylor polynomial of e^r, whose remainder after degree 6 is below 2^-57. The
// conversions to float64 keep compilers from fusing a product into a sum on some architectures
// only.
func ExpDown(x float64) float64 {
	const (
		steps = 46.16624130844682903551758979206054839765267 // 32 / ln 2
		// ln 2 / 32 in two parts; the first has 33 bits, so that k times it is exact.
		stepHi = 6.93147180369123816490e-01 / 32
		stepLo = 1.90821492927058770002e-10 / 32
		// Adding and subtracting 1.5·2^52 rounds to the nearest integer.
		shift = 6755399441055744.0
	)
	k := float64(float64(x*steps)+shift) - shift
	r := float64(x-float64(k*stepHi)) - float64(k*stepLo)
	p := float64(r*(1.0/720)) + 1.0/120
	p = float64(p*r) + 1.0/24
	p = float64(p*r) + 1.0/6
	p = float64(p*r) + 0.5
	p = float64(p*r) + 1
	p = float64(p*r) + 1
	i := int(k)
	return p * powers[i&31] * math.Float64frombits(uint64(i>>5+1023)<<52)
}

// powers holds 2^(j/32).
var powers = [32]float64{
	1, 0x1.059b0d3158574p+0, 0x1.0b5586cf9890fp+0, 0x1.11301d0125b51p+0,
	0x1.172b83c7d517bp+0, 0x1.1d4873168b9aap+0, 0x1.2387a6e756238p+0, 0x1.29e9df51fdee1p+0,
	0x1.306fe0a31b715p+0, 0x1.371a7373aa9cbp+0, 0x1.3dea64c123422p+0, 0x1.44e086061892dp+0,
	0x1.4bfdad5362a27p+0, 0x1.5342b569d4f82p+0, 0x1.5ab07dd485429p+0, 0x1.6247eb03a5585p+0,
	0x1.6a09e667f3bcdp+0, 0x1.71f75e8ec5f74p+0, 0x1.7a11473eb0187p+0, 0x1.82589994cce13p+0,
	0x1.8ace5422aa0dbp+0, 0x1.93737b0cdc5e5p+0, 0x1.9c49182a3f090p+0, 0x1.a5503b23e255dp+0,
	0x1.ae89f995ad3adp+0, 0x1.b7f76f2fb5e47p+0, 0x1.c199bdd85529cp+0, 0x1.cb720dcef9069p+0,
	0x1.d5818dcfba487p+0, 0x1.dfc97337b9b5fp+0, 0x1.ea4afa2a490dap+0, 0x1.f50765b6e4540p+0,
}
