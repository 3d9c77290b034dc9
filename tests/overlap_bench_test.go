package tests

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/internal/faultnet"
	"github.com/conclave-serve/conclave/internal/synth"
	"github.com/conclave-serve/conclave/internal/wire"
)

// BenchmarkOverlap is a step of 32 sequences that decode, and one of 256
// positions of prompts, in one part and in two that overlap, by a coordinator
// and a worker with a core each and a network between them that is made slower.
func BenchmarkOverlap(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "model")
	_, err := synth.Run(b.Context(), synth.Config{
		File: "../model/testdata/configs/qwen3-30b-a3b.config.json", Out: dir,
		Layers: 4, Experts: 16, Vocab: 512, Seed: 1,
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, delay := range []time.Duration{0, 2 * time.Millisecond, 10 * time.Millisecond} {
		c := startClusterOf(b, dir, 1, wire.F32, 1)
		for _, w := range c.workers {
			r, err := faultnet.Listen(w.addr, delay)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(r.Close)
			if delay > 0 {
				w.addr = r.Addr()
			}
		}
		c.update(c.workers...)
		c.await(b)
		for _, size := range []struct{ sequences, tokens int }{{32, 1}, {2, 128}} {
			for parts := 1; parts <= forward.MicroBatches; parts++ {
				name := fmt.Sprintf("delay=%v/rows=%dx%d/parts=%d", delay, size.sequences, size.tokens, parts)
				b.Run(name, func(b *testing.B) { c.overlap(b, size.sequences, size.tokens, parts) })
			}
		}
	}
}

// overlap measures steps of so many tokens of each of some sequences.
func (c *cluster) overlap(b *testing.B, sequences, tokens, parts int) {
	var rows []forward.Row
	prompt := make([]int32, 64+tokens)
	for i := range sequences {
		for j := range prompt {
			prompt[j] = int32((i*31 + j*7) % c.spec.Vocab)
		}
		s := c.sequence(len(prompt))
		b.Cleanup(func() { c.cache.Release(&s.kv) })
		c.step(b, c.rows(b, s, prompt[:64], false))
		rows = append(rows, c.rows(b, s, prompt[64:], false)...)
	}
	c.dispatcher.Begin()
	defer c.dispatcher.End()
	for b.Loop() {
		if _, err := c.model.Step(b.Context(), rows, parts); err != nil {
			b.Fatal(err)
		}
	}
}
