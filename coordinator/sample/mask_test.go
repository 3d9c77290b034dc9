package sample

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// maskOf returns the mask of ids.
func maskOf(vocab int, ids ...int32) []uint64 {
	mask := make([]uint64, (vocab+63)/64)
	for _, id := range ids {
		mask[id/64] |= 1 << (id % 64)
	}
	return mask
}

// A mask, from outside, from the parameters or from both, leaves the draw as if
// every other logit were minus infinity.
func TestMaskIsMinusInfinity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vocab := rapid.IntRange(1, 700).Draw(t, "vocab")
		logits := genLogits(t, vocab)
		id := rapid.Int32Range(0, int32(vocab-1))
		some := rapid.OneOf(rapid.SliceOfN(id, 1, 5), rapid.SliceOfN(id, vocab, 3*vocab))
		p := Params{
			Temperature:       rapid.SampledFrom([]float32{0, 0.7, 2}).Draw(t, "temperature"),
			TopK:              rapid.SampledFrom([]int{0, 1, 3, 400}).Draw(t, "top_k"),
			TopP:              rapid.SampledFrom([]float32{0, 0.4, 0.99}).Draw(t, "top_p"),
			MinP:              rapid.SampledFrom([]float32{0, 0, 0.1}).Draw(t, "min_p"),
			TypicalP:          rapid.SampledFrom([]float32{0, 0, 0.5}).Draw(t, "typical_p"),
			RepetitionPenalty: rapid.SampledFrom([]float32{0, 1.3}).Draw(t, "repetition"),
			LogitBias:         map[int32]float32{id.Draw(t, "biased"): 2},
			Seed:              rapid.Uint64().Draw(t, "seed"),
		}
		prompt := []int32{id.Draw(t, "prompt")}
		allowed := some.Draw(t, "allowed")
		var mask []uint64
		if rapid.Bool().Draw(t, "outside") {
			mask = maskOf(vocab, allowed...)
		}
		naive := New(p, vocab, prompt)
		if mask == nil || rapid.Bool().Draw(t, "parameter") {
			p.Allowed = some.Draw(t, "allowed by parameter")
		}
		blocked := slices.Clone(logits)
		for i := range blocked {
			if mask != nil && !slices.Contains(allowed, int32(i)) ||
				p.Allowed != nil && !slices.Contains(p.Allowed, int32(i)) {
				blocked[i] = float32(math.Inf(-1))
			}
		}
		s, before := New(p, vocab, prompt), slices.Clone(logits)
		for range 3 {
			got, err := s.Choose(logits, mask, nil)
			want, wantErr := naive.Choose(blocked, nil, nil)
			if got != want || (err == nil) != (wantErr == nil) {
				t.Fatalf("token %d (%v), want %d (%v)", got, err, want, wantErr)
			}
			if err != nil {
				break
			}
			s.Remember(got)
			naive.Remember(got)
		}
		if !slices.Equal(logits, before) {
			t.Fatal("the logits were not restored")
		}
	})
}

func TestBadWords(t *testing.T) {
	logits := []float32{5, 4, 3, 2, 1}
	s := New(Params{BadWords: [][]int32{{2}, {0, 0, 0}, {0, 0, 1, 0}, {}, {9}}}, 5, []int32{0, 0})
	var got []int32
	for range 7 {
		id, err := s.Next(logits)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, id)
	}
	// 2 never comes; the third 0 in a row does not, nor the 0 after 0, 0, 1. The
	// prompt does not count.
	if want := []int32{0, 0, 1, 1, 0, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("tokens %v, want %v", got, want)
	}
}

// Where a request has forbidden all that it allows, the model is not to blame.
func TestNothingLeft(t *testing.T) {
	logits := []float32{1, float32(math.NaN()), 3, float32(math.Inf(-1))}
	for _, c := range []struct {
		name       string
		params     Params
		mask       []uint64
		banned     []int32
		token      int32
		restricted bool
	}{
		{"bad words", Params{Allowed: []int32{2}, BadWords: [][]int32{{2}}}, nil, nil, -1, true},
		{"banned", Params{}, maskOf(4, 0), []int32{0}, -1, true},
		{"impossible", Params{Allowed: []int32{3}}, nil, nil, -1, true},
		{"disjoint", Params{Allowed: []int32{2}}, maskOf(4, 0), nil, -1, true},
		{"an empty mask", Params{}, maskOf(4), nil, -1, false},
		{"a broken model", Params{Allowed: []int32{0, 1}}, nil, []int32{0}, 1, false},
		{"a broken model, all allowed", Params{}, nil, nil, 1, false},
	} {
		_, err := New(c.params, 4, nil).Choose(logits, c.mask, c.banned)
		var le *LogitError
		if !errors.As(err, &le) || le.Token != c.token || le.Restricted != c.restricted {
			t.Errorf("%s: %+v, want token %d, restricted %v", c.name, err, c.token, c.restricted)
		}
	}
}
