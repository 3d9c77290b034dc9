package forward

import (
	"fmt"
	"math"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/internal/demo"
	"github.com/conclave-serve/conclave/internal/tokenizer"
	"github.com/conclave-serve/conclave/kernels"
)

var cacheFormats = []kernels.Format{kernels.F32, kernels.BF16, kernels.I8}

// longCases have what attention over several segments can get wrong: grouped
// heads, windows with sinks, both forms of latent attention; in all formats of
// the cache.
var longCases = []struct {
	name   string
	format kernels.Format
}{
	{"qwen3moe-norm", kernels.F32}, {"gptoss-32-experts", kernels.BF16}, {"deepseek-v3-fp8", kernels.I8},
}

// long is n tokens.
func (m *testModel) long(n int) []int32 {
	tokens := make([]int32, n)
	for i := range tokens {
		tokens[i] = int32((i*i*7 + 3*i + 5 + i/97) % m.spec.Vocab)
	}
	return tokens
}

// chunks runs tokens from position from on, a chunk at a time in some parts,
// and returns the logits of all. Whole blocks of the first prompt tokens are
// expanded.
func (m *testModel) chunks(
	t *testing.T, s *kvcache.Sequence, tokens []int32, prompt, from, chunk, parts int,
) []float32 {
	t.Helper()
	var out []float32
	for pos := from; pos < len(tokens); {
		end := min(pos+chunk, len(tokens))
		rows := m.rows(t, s, pos, tokens[pos:end]...)
		for i := range rows {
			rows[i].Expand = Expands(pos+i, prompt)
		}
		logits, err := m.Step(t.Context(), rows, parts)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, logits...)
		pos = end
		m.cache.Advance(s, tokens, pos)
	}
	return out
}

// Over a context of more than a segment chunks, threads and micro-batches change
// no bit.
func TestLongContext(t *testing.T) {
	for _, c := range longCases {
		t.Run(fmt.Sprintf("%s/%v", c.name, c.format), func(t *testing.T) {
			one := loadCached(t, goldens+c.name, 1, noExperts{}, c.format)
			tokens := one.long(560)
			const prompt = 520
			var a, b kvcache.Sequence
			want := one.chunks(t, &a, tokens, prompt, 0, testRows, 1)
			three := loadCached(t, goldens+c.name, 3, noExperts{}, c.format)
			sameBits(t, "chunks of 23", three.chunks(t, &b, tokens, prompt, 0, 23, 2), want)
		})
	}
}

// A sequence that begins with the pages of another has the bits that it has
// alone.
func TestSharedPrefix(t *testing.T) {
	for _, c := range longCases {
		t.Run(fmt.Sprintf("%s/%v", c.name, c.format), func(t *testing.T) {
			m := loadCached(t, goldens+c.name, 2, noExperts{}, c.format)
			tokens := m.long(580)
			const prompt, alike, found = 560, 555, 544
			other := append(append([]int32(nil), tokens[:alike]...), 1, 2, 3, 4, 5, 6, 7)
			id := kvcache.Identity{Expanded: Expanded(m.spec, prompt)}
			var alone, first, second kvcache.Sequence
			want := m.chunks(t, &alone, other, prompt, 0, testRows, 1)
			m.cache.Release(&alone) // it was not matched: nothing stays

			if got := m.cache.Match(&first, id, tokens); got != 0 {
				t.Fatalf("%d positions match in an empty cache", got)
			}
			m.chunks(t, &first, tokens, prompt, 0, 50, 2)
			m.cache.Release(&first)
			if got := m.cache.Match(&second, id, other); got != found {
				t.Fatalf("%d positions match, want %d", got, found)
			}
			sameBits(t, "behind a shared prefix",
				m.chunks(t, &second, other, prompt, found, testRows, 1), want[found*m.spec.Vocab:])
		})
	}
}

// text is what the demo model reads in TestCacheFormats.
const text = `The expert whose tensors are missing is loaded from the second file. A worker holds
some experts of every layer, and a coordinator sends it the rows that the gate has chosen. What
comes back is added up in a fixed order, so that the answer does not depend on who computed it.
To be or not to be, that is the question: 17 + 25 = 42, and 6 * 7 is the same number.`

// A rounded cache moves the logits of the demo model little, on average: a gate
// that hesitates between two experts may choose the other, so single logits
// move far. The bounds are two to three times what was measured.
func TestCacheFormats(t *testing.T) {
	dir, err := demo.Unpack(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	tokens := tok.Encode(text)
	vocab := 0
	run := func(f kernels.Format) []float32 {
		m := loadCached(t, dir, 2, nil, f)
		vocab = m.spec.Vocab
		var s kvcache.Sequence
		return m.chunks(t, &s, tokens, len(tokens), 0, testRows, 1)
	}
	exact := run(kernels.F32)
	for format, most := range map[kernels.Format]struct {
		mean   float64
		others int // positions at which another token is the most likely
	}{kernels.BF16: {.1, 10}, kernels.I8: {.15, 10}} {
		got, sum, others := run(format), 0.0, 0
		for i, v := range got {
			sum += math.Abs(float64(v) - float64(exact[i]))
		}
		for at := 0; at < len(got); at += vocab {
			if argmax(got[at:at+vocab]) != argmax(exact[at:at+vocab]) {
				others++
			}
		}
		mean := sum / float64(len(got))
		t.Logf("%v: mean |Δ| of logits %.3g; another favourite at %d of %d positions",
			format, mean, others, len(tokens))
		if !(mean <= most.mean) || others > most.others || sum == 0 {
			t.Errorf("%v moves logits by %g on average, and the favourite at %d positions", format, mean, others)
		}
	}
}

func argmax(x []float32) (best int) {
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}
