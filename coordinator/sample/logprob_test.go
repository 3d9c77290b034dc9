package sample

import (
	"math"
	"sort"
	"testing"

	"pgregory.net/rapid"
)

func TestLogprobs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vocab := rapid.IntRange(1, 400).Draw(t, "vocab")
		logits := genLogits(t, vocab)
		token := rapid.IntRange(0, vocab-1).Draw(t, "token")
		k := rapid.IntRange(0, 25).Draw(t, "k")
		got, top := Logprobs(logits, int32(token), k)

		order := make([]int, vocab)
		sum := 0.0
		for i, l := range logits {
			order[i] = i
			sum += math.Exp(float64(l))
		}
		sort.SliceStable(order, func(a, b int) bool { return logits[order[a]] > logits[order[b]] })
		logprob := func(id int) float64 { return float64(logits[id]) - math.Log(sum) }
		if !near(float64(got), logprob(token)) {
			t.Fatalf("token %d: %v, want %v", token, got, logprob(token))
		}
		if len(top) != min(k, vocab) {
			t.Fatalf("%d alternatives, want %d", len(top), min(k, vocab))
		}
		for i, a := range top {
			if int(a.Token) != order[i] || !near(float64(a.Logprob), logprob(order[i])) {
				t.Fatalf("alternative %d is %+v, want token %d with %v",
					i, a, order[i], logprob(order[i]))
			}
		}
	})
}

func near(a, b float64) bool {
	return a == b || math.Abs(a-b) < 1e-5
}
