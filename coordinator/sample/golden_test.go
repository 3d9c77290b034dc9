package sample

import (
	"encoding/json"
	"math"
	"os"
	"strconv"
	"testing"
)

// goldenCase is one entry of testdata/processors.json, which testdata/make.py
// makes with transformers' logits processors.
type goldenCase struct {
	Logits         []float32
	Prompt, Output []int32
	Params         struct {
		Temperature float32            `json:"temperature"`
		TopK        int                `json:"top_k"`
		TopP        float32            `json:"top_p"`
		MinP        float32            `json:"min_p"`
		TypicalP    float32            `json:"typical_p"`
		Repetition  float32            `json:"repetition_penalty"`
		Frequency   float32            `json:"frequency_penalty"`
		Presence    float32            `json:"presence_penalty"`
		Bias        map[string]float32 `json:"logit_bias"`
		Allowed     []int32            `json:"allowed_token_ids"`
		BadWords    [][]int32          `json:"bad_words"`
	}
	Probs map[string]float64
}

func (g *goldenCase) sampler(t *testing.T) *Sampler {
	t.Helper()
	p := Params{
		Temperature: g.Params.Temperature, TopK: g.Params.TopK, TopP: g.Params.TopP,
		MinP: g.Params.MinP, RepetitionPenalty: g.Params.Repetition,
		FrequencyPenalty: g.Params.Frequency, PresencePenalty: g.Params.Presence,
		LogitBias: map[int32]float32{}, TypicalP: g.Params.TypicalP,
		Allowed: g.Params.Allowed, BadWords: g.Params.BadWords,
	}
	for name, value := range g.Params.Bias {
		id, err := strconv.Atoi(name)
		if err != nil {
			t.Fatal(err)
		}
		p.LogitBias[int32(id)] = value
	}
	s := New(p, len(g.Logits), g.Prompt)
	for _, id := range g.Output {
		s.Remember(id)
	}
	return s
}

// distribution returns the probability of every token in the next draw.
func distribution(t *testing.T, s *Sampler, logits []float32) []float64 {
	t.Helper()
	probs := make([]float64, len(logits))
	s.adjust(logits)
	s.forbidWords(logits)
	defer s.restore(logits)
	mask := s.mask(nil)
	if mask != nil {
		logits = s.gather(logits, mask)
	}
	best, err := argmax(logits)
	if err != nil {
		t.Fatal(err)
	}
	l := s.limits(logits, logits[best])
	total := float64(s.sumBlocks(logits, l))
	for i, logit := range logits {
		id := int32(i)
		if mask != nil {
			id = nth(mask, id)
		}
		probs[id] = float64(s.kept(logit, i, &l)) / total
	}
	return probs
}

func TestMatchesTransformers(t *testing.T) {
	data, err := os.ReadFile("testdata/processors.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []goldenCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 100 {
		t.Fatalf("only %d cases", len(cases))
	}
	for i := range cases {
		g := &cases[i]
		before := append([]float32(nil), g.Logits...)
		got := distribution(t, g.sampler(t), g.Logits)
		for id, p := range got {
			want := g.Probs[strconv.Itoa(id)]
			if math.Abs(p-want) > 1e-6 {
				t.Errorf("case %d (%+v): token %d has probability %.9f, want %.9f",
					i, g.Params, id, p, want)
			}
			if g.Logits[id] != before[id] {
				t.Errorf("case %d: logit %d was not restored", i, id)
			}
		}
	}
}
