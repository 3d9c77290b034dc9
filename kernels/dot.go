package kernels

import "math"

// lanes is the number of partial sums of the canonical dot product. Sixteen is two 256-bit, one
// 512-bit or four 128-bit registers.
const lanes = 16

// Dot returns the canonical dot product of a and b:
//
//	for i := range a { lane[i%16] = fma(a[i], b[i], lane[i%16]) }
//
// reduced by the fixed tree of reduce.
func Dot(a, b []float32) float32 {
	if len(a) != len(b) {
		panic("kernels: Dot of slices of different lengths")
	}
	if fastPath && len(a) > 0 {
		return dotFast(a, b)
	}
	return dotGeneric(a, b)
}

// addWeighted adds weighted rows of values to acc: for j ascending,
//
//	acc[i] = fma(weights[j], values[j*stride+i], acc[i])
func addWeighted(acc, weights, values []float32, stride int) {
	if len(acc) == 0 || len(weights) == 0 {
		return
	}
	_ = values[(len(weights)-1)*stride+len(acc)-1]
	if fastPath {
		addWeightedFast(acc, weights, values, stride)
		return
	}
	addWeightedGeneric(acc, weights, values, stride)
}

func addWeightedGeneric(acc, weights, values []float32, stride int) {
	for j, p := range weights {
		for i, v := range values[j*stride:][:len(acc)] {
			acc[i] = fma32(p, v, acc[i])
		}
	}
}

// dotGeneric is the plain twin of Dot.
func dotGeneric(a, b []float32) float32 {
	var acc [lanes]float32
	for len(a) >= lanes {
		addLanes(&acc, (*[lanes]float32)(a), (*[lanes]float32)(b))
		a, b = a[lanes:], b[lanes:]
	}
	for i := range a {
		acc[i] = fma32(a[i], b[i], acc[i])
	}
	return reduce(&acc)
}

// reduce adds the lanes in the fixed order: halves onto halves.
func reduce(acc *[lanes]float32) float32 {
	var r [lanes / 2]float32
	for l := range r {
		r[l] = acc[l] + acc[l+8]
	}
	for l := range 4 {
		r[l] += r[l+4]
	}
	return (r[0] + r[2]) + (r[1] + r[3])
}

// addLanes adds one block to the lanes: acc[l] = fma32(x[l], w[l], acc[l]). The easy path of fma32
// is written out because the compiler does not inline it, and most of the twin's time goes here.
func addLanes(acc, x, w *[lanes]float32) {
	for l := range acc {
		p, c := float64(x[l])*float64(w[l]), float64(acc[l])
		s := float64(p) + c
		bits := math.Float64bits(s)
		if bits&tieMask == tie || bits&magnitudeMask < minNormal {
			acc[l] = fmaHard(p, c, s)
			continue
		}
		acc[l] = float32(s)
	}
}
