package forward

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/internal/demo"
	"github.com/conclave-serve/conclave/internal/tokenizer"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/shard"
)

// heldOut is text that the demo model was not trained on, as tokens; the completion begins at from.
// tools/demo-model/heldout.py makes it.
type heldOut struct {
	tokens []int32
	from   int
}

func readHeldOut(t *testing.T, dir string) (texts []heldOut) {
	t.Helper()
	tok, err := tokenizer.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(goldens + "demo/heldout.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Prompt, Completion string }
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) < 40 {
		t.Fatalf("%d texts, %v", len(cases), err)
	}
	for _, c := range cases {
		prompt := tok.Encode(c.Prompt)
		texts = append(texts, heldOut{append(prompt, tok.Encode(c.Completion)...), len(prompt)})
	}
	return texts
}

// predictions returns the logits [positions, vocab] from which the tokens of completions are drawn.
func (m *testModel) predictions(t *testing.T, texts []heldOut) (out []float32) {
	for _, text := range texts {
		var s kvcache.Sequence
		all := m.chunks(t, &s, text.tokens, text.from, 0, testRows, 1)
		m.cache.Release(&s)
		out = append(out, all[(text.from-1)*m.spec.Vocab:(len(text.tokens)-1)*m.spec.Vocab]...)
	}
	return out
}

// accuracy compares predictions with those of the stored weights.
type accuracy struct {
	divergence float64 // mean Kullback-Leibler divergence, in nats, from the stored weights' logits
	alike      float64 // part of the positions with the same most likely token
	perplexity float64 // of the completions
}

// judge reads one position after the other.
func judge(texts []heldOut, vocab int, exact, got []float32) (a accuracy) {
	n, at := 0, 0
	loss := 0.0
	for _, text := range texts {
		for _, token := range text.tokens[text.from:] {
			p, q := logSoftmax(exact[at:at+vocab]), logSoftmax(got[at:at+vocab])
			for i := range p {
				a.divergence += math.Exp(p[i]) * (p[i] - q[i])
			}
			if argmax(exact[at:at+vocab]) == argmax(got[at:at+vocab]) {
				a.alike++
			}
			loss -= q[token]
			at += vocab
			n++
		}
	}
	a.divergence /= float64(n)
	a.alike /= float64(n)
	a.perplexity = math.Exp(loss / float64(n))
	return a
}

func logSoftmax(logits []float32) []float64 {
	most, sum := float64(logits[argmax(logits)]), 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v) - most)
	}
	out := make([]float64, len(logits))
	for i, v := range logits {
		out[i] = float64(v) - most - math.Log(sum)
	}
	return out
}

// TestQuantisedAccuracy prints the table of docs/models.md. The bounds are about twice what was
// measured.
func TestQuantisedAccuracy(t *testing.T) {
	dir, err := demo.Unpack(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	texts := readHeldOut(t, dir)
	vocab := 0
	run := func(q quants) []float32 {
		m := loadQuantised(t, dir, 2, nil, kernels.F32, q)
		vocab = m.spec.Vocab
		return m.predictions(t, texts)
	}
	exact := run(quants{})
	none, q8, q4 := shard.QuantNone, shard.QuantInt8, shard.QuantInt4
	t.Logf("experts  attention  KL, nats  top-1  perplexity")
	for _, c := range []struct {
		quants
		divergence, alike float64 // at most, at least
	}{
		{quants{none, none}, 0, 1},
		{quants{q8, none}, 5e-5, .995},
		{quants{none, q8}, 5e-5, .995},
		{quants{q8, q8}, 1e-4, .995},
		{quants{q4, none}, .003, .98},
		{quants{none, q4}, .004, .97},
		{quants{q4, q8}, .003, .98},
		{quants{q4, q4}, .007, .96},
		{quants{q8.Rounded(), none}, 1e-4, .995},
		{quants{q8.Rounded(), q8.Rounded()}, 2e-4, .995},
		{quants{q4.Rounded(), none}, .003, .98},
		{quants{q4.Rounded(), q8.Rounded()}, .003, .98},
		{quants{q4.Rounded(), q4.Rounded()}, .01, .95},
	} {
		a := judge(texts, vocab, exact, run(c.quants))
		t.Logf("%-22v %-22v %-9.2g %-6.4f %.4f", c.experts, c.attention, a.divergence, a.alike, a.perplexity)
		if !(a.divergence <= c.divergence) || !(a.alike >= c.alike) {
			t.Errorf("experts %v, attention %v: divergence %g, alike %g", c.experts, c.attention,
				a.divergence, a.alike)
		}
	}
}

// Chunks, threads and micro-batches change no bit of a quantised model, also with a tied head, which
// is quantised apart from the embedding, and in both forms of latent attention.
func TestQuantisedBits(t *testing.T) {
	for _, name := range []string{"qwen3moe-nonorm-bf16", "gptoss-32-experts", "deepseek-v3-fp8"} {
		for _, q := range []quants{
			{shard.QuantInt8, shard.QuantInt4}, {shard.QuantInt4, shard.QuantInt8},
			{shard.QuantInt4.Rounded(), shard.QuantInt8.Rounded()},
		} {
			t.Run(fmt.Sprintf("%s/%v", name, q), func(t *testing.T) {
				one := loadQuantised(t, goldens+name, 1, noExperts{}, kernels.F32, q)
				tokens := one.long(300)
				const prompt = 280
				var a, b kvcache.Sequence
				want := one.chunks(t, &a, tokens, prompt, 0, testRows, 1)
				three := loadQuantised(t, goldens+name, 3, noExperts{}, kernels.F32, q)
				sameBits(t, "chunks of 23", three.chunks(t, &b, tokens, prompt, 0, 23, 2), want)
			})
		}
	}
}
