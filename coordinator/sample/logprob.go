package sample

import (
	"math"
	"slices"

	"github.com/conclave-serve/conclave/kernels"
)

// Alternative is a token with its natural log-probability.
type Alternative struct {
	Token   int32
	Logprob float32
}

// Logprobs returns the log-probability of token and the k most likely tokens,
// most likely first, ties to the lower id, under the softmax of the model's own
// logits [vocab] f32: before bias, penalties and temperature.
func Logprobs(logits []float32, token int32, k int) (float32, []Alternative) {
	norm := logSum(logits)
	chosen := float32(float64(logits[token]) - norm)
	keys := largest(nil, logits, min(k, len(logits)))
	slices.Sort(keys)
	slices.Reverse(keys)
	alternatives := make([]Alternative, len(keys))
	for i, best := range keys {
		id := keyToken(best)
		alternatives[i] = Alternative{int32(id), float32(float64(logits[id]) - norm)}
	}
	return chosen, alternatives
}

// logSum returns the logarithm of the sum of the exponentials of logits; NaN if one of
// them is NaN, or none is finite. Tokens that are 32 nats from the most likely one, or
// whose weights are nothing beside its, are left out: of a million they would add 10⁻⁷.
func logSum(logits []float32) float64 {
	top, nan := kernels.Highest(logits)
	if nan || math.IsInf(float64(top), 0) {
		return math.NaN()
	}
	p := kernels.Weighing{
		Low: float32(math.Inf(-1)), Top: float64(top), Inverse: 1, Scale: weightScale(len(logits)),
	}
	var weights [blockTokens]uint64
	total := uint64(0)
	for first := 0; first < len(logits); first += blockTokens {
		part := logits[first:min(first+blockTokens, len(logits))]
		total += p.Weigh(weights[:len(part)], part)
	}
	return float64(top) + math.Log(float64(total)/p.Scale)
}
