package kernels

import "unsafe"

// expSumsFast is expSums.
func expSumsFast(states []Attn, x []float32, n int) {
	for t := range states {
		st := &states[t]
		st.Sum = expSumNEON(&x[t*n], n, st.Max, st.Sum)
	}
}

func scaleMaxFast(x []float32, scale, highest float32) float32 {
	return scaleMaxNEON(unsafe.SliceData(x), len(x), scale, highest)
}

func scaleByFast(x []float32, c float32)  { scaleNEON(unsafe.SliceData(x), len(x), c) }
func divideByFast(x []float32, c float32) { divideNEON(unsafe.SliceData(x), len(x), c) }

// mulRowFast multiplies number i of x, of which there are some, by number i of y.
func mulRowFast(x, y []float32) { mulRowNEON(&x[0], &y[0], len(x)) }

func dotsManyF32(operands *byte) { dotsF32(operands) }

// addValues4Wide says that there are no wider registers.
func addValues4Wide(_ *float32, _, _ int, _ *float32, _ *Cached, _ int) bool { return false }
