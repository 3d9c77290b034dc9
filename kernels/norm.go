package kernels

import "math"

// RMSNorm normalises x by its root mean square and weighs it: dst[i] = x[i] / rms * w[i], where
// rms = sqrt(mean(x²) + eps) and the sum of squares is the canonical dot product. dst may be x.
// Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
func RMSNorm(dst, x, w []float32, eps float32) {
	if len(dst) != len(x) || len(w) != len(x) {
		panic("kernels: RMSNorm of slices of different lengths")
	}
	mean := Dot(x, x) / float32(len(x))
	scale := float32(1 / math.Sqrt(float64(mean+eps)))
	n := 0
	if fastPath {
		n = normFast(dst, x, w, scale)
	}
	for i, v := range x[n:] {
		dst[n+i] = float32(v*scale) * w[n+i]
	}
}

// SwiGLU gates up by the SiLU of gate: dst[i] = gate[i]·σ(gate[i])·up[i]. dst may be either input.
// Shazeer, "GLU Variants Improve Transformer", 2020.
func SwiGLU(dst, gate, up []float32) {
	if len(gate) != len(dst) || len(up) != len(dst) {
		panic("kernels: SwiGLU of slices of different lengths")
	}
	if fastPath {
		swiGLUFast(dst, gate, up)
		return
	}
	for i, g := range gate {
		dst[i] = float32(g/(1+Exp(-g))) * up[i]
	}
}

// SwiGLUClamped is gpt-oss's activation, of clamped inputs: with g = min(gate[i], limit) and
// u = min(max(up[i], -limit), limit), for a limit above 0,
//
//	dst[i] = g·σ(alpha·g)·(u + 1)
//
// dst may be either input.
func SwiGLUClamped(dst, gate, up []float32, alpha, limit float32) {
	if len(gate) != len(dst) || len(up) != len(dst) {
		panic("kernels: SwiGLUClamped of slices of different lengths")
	}
	if fastPath {
		swiGLUClampedFast(dst, gate, up, alpha, limit)
		return
	}
	for i, g := range gate {
		g = min(g, limit)
		u := min(max(up[i], -limit), limit)
		dst[i] = float32(g/(1+Exp(-float32(alpha*g)))) * (u + 1)
	}
}

// Sigmoid replaces x by σ(x) = 1 / (1 + exp(-x)).
func Sigmoid(x []float32) {
	if fastPath {
		sigmoidFast(x)
		return
	}
	for i, v := range x {
		x[i] = 1 / (1 + Exp(-v))
	}
}

// Softmax replaces x by exp(x - max) over its sum, added in ascending order in float64. A NaN makes
// all of x NaN.
func Softmax(x []float32) {
	if len(x) == 0 {
		return
	}
	highest, _ := Highest(x)
	state := [1]Attn{{Max: highest}}
	expSums(state[:], x, len(x))
	var sum float64
	for _, e := range x {
		sum += float64(e)
	}
	for i, e := range x {
		x[i] = float32(float64(e) / sum)
	}
}
