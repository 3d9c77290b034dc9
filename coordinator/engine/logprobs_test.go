package engine

import (
	"math"
	"testing"
)

// logSoftmax is the naive formula, in f64.
func logSoftmax(logits []float32, token int32) float64 {
	var sum float64
	for _, l := range logits {
		sum += math.Exp(float64(l))
	}
	return float64(logits[token]) - math.Log(sum)
}

func checkLogprob(t *testing.T, what string, got TokenLogprob, before []int32, token int32, top int) {
	t.Helper()
	logits := logitsAfter(before)
	if got.Token != token || math.Abs(float64(got.Logprob)-logSoftmax(logits, token)) > 1e-5 {
		t.Errorf("%s: token %d with %v, want %d with %v", what, got.Token, got.Logprob, token, logSoftmax(logits, token))
	}
	if len(got.Top) != top {
		t.Errorf("%s: %d alternatives, want %d", what, len(got.Top), top)
	}
	for i, a := range got.Top {
		if math.Abs(float64(a.Logprob)-logSoftmax(logits, a.Token)) > 1e-5 || i > 0 && a.Logprob > got.Top[i-1].Logprob {
			t.Errorf("%s: alternative %d is %+v", what, i, a)
		}
	}
}

// Prompt and completion carry the model's own log-probabilities, however the
// prompt was cut; the prompt's come in one event before the first token.
func TestLogprobs(t *testing.T) {
	p := prompt(4, 75)
	for _, c := range []struct {
		name         string
		rows, limit  int
		maxTokens, k int
		prompt       []int32
	}{
		{"in one step", 128, 128, 5, 3, p},
		{"in chunks", 16, 10, 5, 3, p},
		{"row by row", 1, 1, 5, 0, p},
		{"without a completion", 128, 128, 0, 2, p},
		{"in chunks without a completion", 16, 10, 0, 2, p},
		{"a chunk ends one row early", 74, 74, 2, 1, p},
		{"a prompt of one token", 16, 10, 3, 1, p[:1]},
		{"a prompt of one token without a completion", 16, 10, 0, 1, p[:1]},
	} {
		e, _ := start(t, 64, func(cfg *Config) { cfg.MaxRows, cfg.MaxLogits = c.rows, c.limit })
		events := complete(t, e, Request{
			Prompt: c.prompt, MaxTokens: c.maxTokens, Logprobs: c.k, PromptLogprobs: true,
		})
		first := events[0]
		if first.Token != -1 || len(first.Prompt) != len(c.prompt) || len(events) != 1+c.maxTokens {
			t.Errorf("%s: %d events, the first of token %d with %d prompt entries",
				c.name, len(events), first.Token, len(first.Prompt))
			continue
		}
		if got := first.Prompt[0]; got.Token != c.prompt[0] || got.Logprob != 0 || got.Top != nil {
			t.Errorf("%s: the first prompt token has %+v", c.name, got)
		}
		for i := 1; i < len(c.prompt); i++ {
			checkLogprob(t, c.name, first.Prompt[i], c.prompt[:i], c.prompt[i], c.k)
		}
		all := append([]int32(nil), c.prompt...)
		for _, event := range events[1:] {
			checkLogprob(t, c.name, event.Logprob, all, event.Token, c.k)
			all = append(all, event.Token)
		}
		if last(events).Finish != FinishLength {
			t.Errorf("%s: finish %q", c.name, last(events).Finish)
		}
	}
}
