package router

import "github.com/conclave-serve/conclave/kernels"

// Choice is what a gate chose for a batch: K experts per token, [tokens, K].
type Choice struct {
	K       int
	Experts []uint32
	Weights []float32
}

// Resize gives c room for the given number of tokens.
func (c *Choice) Resize(tokens int) {
	n := tokens * c.K
	if cap(c.Experts) < n {
		c.Experts, c.Weights = make([]uint32, n), make([]float32, n)
	}
	c.Experts, c.Weights = c.Experts[:n], c.Weights[:n]
}

// SoftmaxGate chooses the k most probable experts of each token.
//
//	p = softmax(logits) over all experts; T = the K largest of p
//	weight_e = p_e, divided by the sum over T if renormalize is set
//
// logits [tokens, experts] f32 is overwritten with p. out, resized to the
// tokens, receives the choice in descending order of p, ties to the lower
// index. Source: Qwen3MoeTopKRouter in transformers.
func SoftmaxGate(logits []float32, renormalize bool, out *Choice) {
	if len(out.Experts) == 0 {
		return
	}
	k, tokens := out.K, len(out.Experts)/out.K
	width := len(logits) / tokens
	for t := range tokens {
		p := logits[t*width : (t+1)*width]
		kernels.Softmax(p)
		chosen, w := out.Experts[t*k:(t+1)*k], out.Weights[t*k:(t+1)*k]
		topK(p, chosen, w)
		if renormalize {
			var sum float32
			for _, v := range w {
				sum += v
			}
			for i := range w {
				w[i] /= sum
			}
		}
	}
}

// topK fills chosen with the indices of the largest values of p and values
// with those values, by insertion: k is small.
func topK(p []float32, chosen []uint32, values []float32) {
	n := 0
	for e, v := range p {
		at := n
		for at > 0 && v > values[at-1] {
			at--
		}
		if at == len(chosen) {
			continue
		}
		if n < len(chosen) {
			n++
		}
		copy(chosen[at+1:n], chosen[at:n-1])
		copy(values[at+1:n], values[at:n-1])
		chosen[at], values[at] = uint32(e), v
	}
}
