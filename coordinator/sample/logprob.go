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
	top, nan := kernels.Highest(logits)
	if nan {
		top = float32(math.NaN()) // and so is what follows
	}
	sum := 0.0
	for _, l := range logits {
		if d := float64(l) - float64(top); d > -700 {
			sum += kernels.ExpDown(d)
		}
	}
	norm := float64(top) + math.Log(sum)
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
