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
		{Temperature: 0.7, TopK: 20, TypicalP: 0.9},
		{Temperature: 1, TypicalP: 0.9},
	} {
		name := fmt.Sprintf("t=%v,k=%d,p=%v,r=%v,typical=%v",
			p.Temperature, p.TopK, p.TopP, p.RepetitionPenalty, p.TypicalP)
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

// BenchmarkMasked compares draws under masks with one without: their difference
// is what a mask costs.
func BenchmarkMasked(b *testing.B) {
	logits := benchLogits()
	words := (len(logits) + 63) / 64
	fill := func(word func(i int) uint64) []uint64 {
		mask := make([]uint64, words)
		for i := range mask {
			mask[i] = word(i)
		}
		return mask
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for _, m := range []struct {
		name string
		mask []uint64
	}{
		{"none", nil},
		{"all", fill(func(int) uint64 { return ^uint64(0) })},
		{"most", fill(func(int) uint64 { return ^(uint64(1) << rng.IntN(64)) })},
		{"half", fill(func(int) uint64 { return rng.Uint64() })},
		{"few", fill(func(i int) uint64 { return uint64(1) >> (i % 64) })},
	} {
		for _, p := range []Params{{}, {Temperature: 0.6, TopK: 20, TopP: 0.95}} {
			b.Run(fmt.Sprintf("%s,t=%v", m.name, p.Temperature), func(b *testing.B) {
				s := New(p, len(logits), nil)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Choose(logits, m.mask, nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkLogprobs(b *testing.B) {
	logits := benchLogits()
	b.ReportAllocs()
	for b.Loop() {
		Logprobs(logits, 5, 20)
	}
}
