package sample

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// benchLogits resemble a language model's: a broad bulk and a few outliers.
func benchLogits() []float32 {
	rng := rand.New(rand.NewPCG(5, 6))
	logits := make([]float32, 151_936)
	for i := range logits {
		logits[i] = float32(rng.NormFloat64() * 2.5)
	}
	for range 40 {
		logits[rng.IntN(len(logits))] += float32(rng.Float64() * 15)
	}
	return logits
}

func BenchmarkNext(b *testing.B) {
	logits := benchLogits()
	for _, p := range []Params{
		{},
		{Temperature: 0.6, TopK: 20, TopP: 0.95},
		{Temperature: 1},
		{Temperature: 1, TopP: 0.95},
		{Temperature: 2, TopP: 0.99},
		{Temperature: 0.7, TopK: 20, TopP: 0.8, RepetitionPenalty: 1.05},
	} {
		name := fmt.Sprintf("t=%v,k=%d,p=%v,r=%v", p.Temperature, p.TopK, p.TopP, p.RepetitionPenalty)
		b.Run(name, func(b *testing.B) {
			s := New(p, len(logits), []int32{1, 2, 3})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Next(logits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLogprobs(b *testing.B) {
	logits := benchLogits()
	b.ReportAllocs()
	for b.Loop() {
		Logprobs(logits, 5, 20)
	}
}
