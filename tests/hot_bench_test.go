package tests

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/conclave-serve/conclave/internal/synth"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
)

// BenchmarkHotExpert is a layer of a prompt of 256 tokens that all want expert 0,
// and three others each in turns, by two workers with a core each: with the hot
// expert on one of them, and on both.
func BenchmarkHotExpert(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "model")
	_, err := synth.Run(b.Context(), synth.Config{
		File: "../model/testdata/configs/qwen3-30b-a3b.config.json", Out: dir,
		Layers: 1, Experts: 16, Vocab: 512, Seed: 1,
	})
	if err != nil {
		b.Fatal(err)
	}
	const tokens = 256
	for copies := 1; copies <= 2; copies++ {
		c := startClusterOf(b, dir, 2, wire.F32, 1)
		if copies == 2 {
			c.replicate(b)
		}
		x, out := make([]float32, tokens*c.spec.Hidden), make([]float32, tokens*c.spec.Hidden)
		for i := range x {
			x[i] = float32(i%251)/251 - 0.5
		}
		for _, k := range []int{1, 4} {
			choice := router.Choice{K: k}
			choice.Resize(tokens)
			for i := range choice.Experts {
				choice.Experts[i], choice.Weights[i] = 0, 1/float32(k)
				if j := i % k; j > 0 {
					choice.Experts[i] = uint32(1 + (3*(i/k)+j)%15)
				}
			}
			b.Run(fmt.Sprintf("copies=%d/experts=%d", copies, k), func(b *testing.B) {
				c.dispatcher.Begin()
				defer c.dispatcher.End()
				for b.Loop() {
					c.dispatcher.Send(0, 0, x, choice)
					if err := c.dispatcher.Receive(b.Context(), 0, out); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(tokens)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}
