package kernels

import "unsafe"

// expSumsFast is expSums. The assembly knows that a state is a maximum and a sum.
func expSumsFast(states []Attn, x []float32, n int) {
	t := 0
	for ; t+4 <= len(states); t += 4 {
		expSum4AVX2(&states[t].Max, &x[t*n], 4*n, n)
	}
	for ; t < len(states); t++ {
		st := &states[t]
		st.Sum = expSumAVX2(&x[t*n], n, st.Max, st.Sum)
	}
}

func scaleMaxFast(x []float32, scale, highest float32) float32 {
	return scaleMaxAVX2(unsafe.SliceData(x), len(x), scale, highest)
}

func scaleByFast(x []float32, c float32)  { scaleAVX2(unsafe.SliceData(x), len(x), c) }
func divideByFast(x []float32, c float32) { divideAVX2(unsafe.SliceData(x), len(x), c) }

// mulRowFast multiplies number i of x, of which there are some, by number i of y.
func mulRowFast(x, y []float32) { mulRowAVX2(&x[0], &y[0], len(x)) }

// dotsManyF32 is the dot products of more than a query.
func dotsManyF32(operands *byte) {
	if wide {
		dotsF32AVX512(operands)
	} else {
		dotsF32(operands)
	}
}

// addValues4Wide is addValues4 in registers of 512 bits, where it can; it returns whether.
func addValues4Wide(acc *float32, accStride, columns int, w *float32, values *Cached, n int) bool {
	if !wide || columns%lanes != 0 || values.Format == I8 {
		return false
	}
	v, stride := &values.Data[0], values.Stride
	if values.Format == F32 {
		values4F32AVX512(acc, accStride, columns, w, 4*n, v, stride, n)
	} else {
		values4BF16AVX512(acc, accStride, columns, w, 4*n, v, stride, n)
	}
	return true
}
