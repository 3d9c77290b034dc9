package sample

import (
	"cmp"
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"pgregory.net/rapid"
)

// reference is the definition, written naively: sort everything, sum exactly.
// It returns the kept tokens, least likely last, with their integer weights.
func reference(p Params, vocab int, logits []float32) (ids []int, weights []*big.Int) {
	s := New(p, vocab, nil)
	ids = make([]int, vocab)
	for i := range ids {
		ids[i] = i
	}
	sort.SliceStable(ids, func(a, b int) bool { return logits[ids[a]] > logits[ids[b]] })
	top := logits[ids[0]]
	if p.TopK > 0 {
		ids = ids[:min(p.TopK, vocab)]
	}
	total := new(big.Int)
	for _, id := range ids {
		w := new(big.Int).SetUint64(s.weight(logits[id], top))
		weights = append(weights, w)
		total.Add(total, w)
	}
	if p.TopP > 0 && p.TopP < 1 {
		// float64 sums here would round differently from the sampler's.
		f, _ := new(big.Float).SetInt(total).Float64()
		need, _ := big.NewFloat(math.Ceil(float64(p.TopP) * f)).Int(nil)
		sum := new(big.Int)
		for i, w := range weights {
			if sum.Add(sum, w).Cmp(need) >= 0 {
				ids, weights = ids[:i+1], weights[:i+1]
				break
			}
		}
	}
	for i, w := range weights {
		if f, _ := new(big.Float).SetInt(w).Float64(); f < float64(p.MinP)*s.scale || f == 0 {
			ids, weights = ids[:i], weights[:i]
			break
		}
	}
	if p.TypicalP > 0 && p.TypicalP < 1 {
		return typical(s, logits, top, ids, weights)
	}
	return ids, weights
}

// typical is the definition of typical-p: sort by distance, sum exactly.
func typical(s *Sampler, logits []float32, top float32, ids []int, weights []*big.Int) (
	[]int, []*big.Int,
) {
	total, mean := new(big.Int), new(big.Int)
	surprise := func(id int) *big.Int { return new(big.Int).SetUint64(s.surprise(logits[id], top)) }
	for i, id := range ids {
		total.Add(total, weights[i])
		mean.Add(mean, new(big.Int).Mul(weights[i], surprise(id)))
	}
	mean.Div(mean, total)
	type token struct {
		id       int
		weight   *big.Int
		distance *big.Int
	}
	order := make([]token, len(ids))
	for i, id := range ids {
		distance := surprise(id)
		order[i] = token{id, weights[i], distance.Abs(distance.Sub(distance, mean))}
	}
	slices.SortFunc(order, func(a, b token) int {
		return cmp.Or(a.distance.Cmp(b.distance), cmp.Compare(a.id, b.id))
	})
	f, _ := new(big.Float).SetInt(total).Float64()
	need, _ := big.NewFloat(math.Ceil(float64(s.params.TypicalP) * f)).Int(nil)
	ids, weights = nil, nil
	for sum := new(big.Int); sum.Cmp(need) < 0; order = order[1:] {
		sum.Add(sum, order[0].weight)
		ids, weights = append(ids, order[0].id), append(weights, order[0].weight)
	}
	return ids, weights
}

// genLogits draws logits with ties, equal runs, minus infinities and outliers.
func genLogits(t *rapid.T, vocab int) []float32 {
	value := rapid.OneOf(
		rapid.Float32Range(-8, 8),
		rapid.Float32Range(0, 0.1), // many in one bucket
		rapid.Map(rapid.IntRange(-4, 4), func(i int) float32 { return float32(i) / 2 }),
		rapid.SampledFrom([]float32{0, float32(math.Copysign(0, -1)), -60, 30,
			float32(math.Inf(-1))}),
	)
	logits := rapid.SliceOfN(value, vocab, vocab).Draw(t, "logits")
	if slices.Max(logits) == float32(math.Inf(-1)) {
		logits[0] = 0
	}
	return logits
}

func TestPickMatchesReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vocab := rapid.IntRange(1, 1500).Draw(t, "vocab")
		logits := genLogits(t, vocab)
		p := Params{
			Temperature: rapid.Float32Range(0.01, 4).Draw(t, "temperature"),
			TopK:        rapid.IntRange(0, vocab+2).Draw(t, "top_k"),
			TopP:        rapid.Float32Range(0, 1).Draw(t, "top_p"),
			MinP:        rapid.SampledFrom([]float32{0, 0, 0.02, 0.5, 1}).Draw(t, "min_p"),
			TypicalP:    rapid.SampledFrom([]float32{0, 0, 0.01, 0.4, 0.9}).Draw(t, "typical_p"),
			Seed:        rapid.Uint64().Draw(t, "seed"),
		}
		ids, weights := reference(p, vocab, logits)
		total := new(big.Int)
		byID := make(map[int]*big.Int)
		for i, id := range ids {
			byID[id] = weights[i]
			total.Add(total, weights[i])
		}
		for i := range uint64(3) {
			target := new(big.Int).SetUint64(draw(p.Seed, i))
			target.Mul(target, total).Rsh(target, 64)
			want := 0
			for ; ; want++ {
				if w := byID[want]; w != nil {
					if target.Cmp(w) < 0 {
						break
					}
					target.Sub(target, w)
				}
			}
			s := New(p, vocab, nil)
			s.draws = i
			got, err := s.Next(logits)
			if err != nil || int(got) != want {
				t.Fatalf("draw %d: got %d (%v), want %d", i, got, err, want)
			}
		}
	})
}

func TestGreedy(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	negZero := float32(math.Copysign(0, -1))
	cases := []struct {
		name   string
		params Params
		vocab  int
		logits []float32
		want   int32
		err    *LogitError
	}{
		{name: "largest", vocab: 3, logits: []float32{1, 3, 2}, want: 1},
		{name: "tie goes to the lower id", vocab: 4, logits: []float32{0, 2, 2, 1}, want: 1},
		{name: "both zeros are equal", vocab: 2, logits: []float32{negZero, 0}, want: 0},
		{name: "padding is ignored", vocab: 2, logits: []float32{1, 2, 9, nan}, want: 1},
		{name: "masked", vocab: 3, logits: []float32{-inf, -5, -inf}, want: 1},
		{name: "nan", vocab: 3, logits: []float32{1, nan, 2}, err: &LogitError{Token: 1, Value: nan}},
		{name: "infinite", vocab: 3, logits: []float32{1, 2, inf}, err: &LogitError{Token: 2, Value: inf}},
		{name: "all masked", vocab: 2, logits: []float32{-inf, -inf}, err: &LogitError{Token: -1}},
		{name: "bias", vocab: 3, logits: []float32{1, 3, 2}, want: 2,
			params: Params{LogitBias: map[int32]float32{1: -100, 7: 100, -1: 100}}},
	}
	for _, c := range cases {
		for _, k := range []int{0, 1} { // greedy, and a draw from one token
			c.params.TopK, c.params.Temperature = k, float32(k)
			got, err := New(c.params, c.vocab, nil).Next(c.logits)
			var le *LogitError
			if c.err != nil {
				if !errors.As(err, &le) || le.Token != c.err.Token || got != -1 {
					t.Errorf("%s: got %d, %v, want an error about token %d",
						c.name, got, err, c.err.Token)
				}
				continue
			}
			if err != nil || got != c.want {
				t.Errorf("%s: got %d (%v), want %d", c.name, got, err, c.want)
			}
		}
	}
}

func TestPenaltiesFollowTheOutput(t *testing.T) {
	logits := []float32{5, 4.5, 4.2, -1}
	s := New(Params{RepetitionPenalty: 1.25, PresencePenalty: 0.1, FrequencyPenalty: 0.2},
		4, []int32{0, 3, 99, -4})
	// Token 0 counts as repeated from the start: 5/1.25 = 4.
	want := []int32{1, 2, 0, 0, 0}
	var got []int32
	for range want {
		id, err := s.Next(logits)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, id)
	}
	// 1: 4.5 | 2: 4.2 over 4.5/1.25-0.3 = 3.3 | 0: 4 over 3.06 | 0: 3.7 | 0: 3.5
	if !slices.Equal(got, want) {
		t.Errorf("tokens %v, want %v", got, want)
	}
}

// TestCutsAreExact counts the tokens that are left where the reference rarely
// looks: at sums that meet top-p exactly and at a top-k beyond the heap.
func TestCutsAreExact(t *testing.T) {
	equal := []float32{1, 1, 1, 1, -90}
	wide := make([]float32, 2000)
	for i := range wide {
		wide[i] = float32(i*7919%2000) / 200
	}
	cases := []struct {
		params Params
		logits []float32
		want   int
	}{
		{Params{Temperature: 1, TopP: 0.5}, equal, 2},
		{Params{Temperature: 1, TopP: 0.5, TopK: 4}, equal, 2},
		{Params{Temperature: 1, TopP: 0.75, TopK: 4}, equal, 3},
		{Params{Temperature: 1, TopK: 3}, equal, 3},
		{Params{Temperature: 1, MinP: 1}, equal, 4},
		{Params{Temperature: 8, TopK: 700}, wide, 700},
		{Params{Temperature: 8, TopK: heapTokens}, wide, heapTokens},
		{Params{Temperature: 1e6, TopK: 1000, TopP: 0.5}, wide, 500},
	}
	for _, c := range cases {
		left := 0
		probs := distribution(t, New(c.params, len(c.logits), nil), c.logits)
		for i, p := range probs {
			if p > 0 {
				left++
				if i > 0 && c.logits[i] == c.logits[i-1] && probs[i-1] == 0 {
					t.Errorf("%+v: token %d is left, but not %d", c.params, i, i-1)
				}
			}
		}
		if left != c.want {
			t.Errorf("%+v: %d tokens left, want %d", c.params, left, c.want)
		}
	}
}

func TestSameSeedSameText(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	logits := make([]float32, 300)
	for i := range logits {
		logits[i] = float32(rng.NormFloat64())
	}
	run := func(seed uint64) (ids []int32) {
		s := New(Params{Temperature: 1, TopP: 0.9, Seed: seed}, len(logits), nil)
		for range 40 {
			id, err := s.Next(logits)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		return ids
	}
	if !slices.Equal(run(7), run(7)) {
		t.Error("the same seed gave two texts")
	}
	if slices.Equal(run(7), run(8)) {
		t.Error("two seeds gave the same text")
	}
}

// TestDistribution draws 200,000 tokens and compares the counts with the exact
// probabilities by Pearson's chi-square. The seed is fixed, so it cannot flake.
func TestDistribution(t *testing.T) {
	logits := []float32{2, 1, 0.5, 0, -1, 1.5, 0.25, -3}
	for _, p := range []Params{
		{Temperature: 1},
		{Temperature: 0.6, TopK: 5},
		{Temperature: 1.4, TopP: 0.85},
		{Temperature: 1, MinP: 0.2},
		{Temperature: 1, TypicalP: 0.7},
		{Temperature: 1.2, Allowed: []int32{1, 3, 4, 7}},
	} {
		const draws = 200_000
		p.Seed = 11
		s := New(p, len(logits), nil)
		probs := distribution(t, s, logits)
		counts := make([]float64, len(logits))
		for range draws {
			id, err := s.Next(logits)
			if err != nil {
				t.Fatal(err)
			}
			counts[id]++
		}
		chi, freedom := 0.0, -1
		for i, n := range counts {
			expected := probs[i] * draws
			if expected == 0 {
				if n > 0 {
					t.Errorf("%+v: token %d was cut, yet drawn", p, i)
				}
				continue
			}
			chi += (n - expected) * (n - expected) / expected
			freedom++
		}
		// 99.9th percentile of chi-square with up to 7 degrees of freedom.
		limit := []float64{0, 10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32}[freedom]
		if chi > limit {
			t.Errorf("%+v: chi-square %.1f over %d degrees, limit %.1f", p, chi, freedom, limit)
		}
	}
}

func TestNextAllocatesNothing(t *testing.T) {
	logits := make([]float32, 5000)
	for i := range logits {
		logits[i] = float32(i % 97)
	}
	for _, p := range []Params{
		{},
		{Temperature: 1, TopK: 20, TopP: 0.9, MinP: 0.01},
		{Temperature: 1, TopP: 0.5, RepetitionPenalty: 1.1, TopK: 1,
			LogitBias: map[int32]float32{3: 200}},
		{Temperature: 1, TypicalP: 0.9, BadWords: [][]int32{{5}, {6, 7}},
			Allowed: []int32{5, 6, 7, 8, 4999}},
	} {
		s := New(p, len(logits), nil)
		next := func() {
			if _, err := s.Next(logits); err != nil {
				t.Fatal(err)
			}
		}
		next()
		if n := testing.AllocsPerRun(20, next); n != 0 {
			t.Errorf("%+v: %v allocations per token", p, n)
		}
	}
}
