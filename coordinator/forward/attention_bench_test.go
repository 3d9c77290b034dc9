package forward

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// qwen3MoE is a model with the attention of one layer of Qwen3-30B-A3B and no
// weights, on a cache for some positions.
func qwen3MoE(b *testing.B, format kernels.Format, rows, positions int) *Model {
	b.Helper()
	spec := &model.Spec{
		Hidden: 2048, Rotary: model.Rotary{Dims: 128, Theta: 1e6},
		Attention: model.Attention{Heads: 32, KVHeads: 4, HeadDim: 128, ValueDim: 128, Scale: .088},
		Layers:    make([]model.Layer, 1),
	}
	shape := CacheShape(spec)
	shape.Format, shape.Bytes = format, int64(positions+kvcache.PageTokens)*1024*4
	cache, err := kvcache.New(shape)
	if err != nil {
		b.Fatal(err)
	}
	pool := kernels.NewPool(2)
	b.Cleanup(func() {
		pool.Close()
		_ = cache.Close()
	})
	m := &Model{spec: spec, w: &weights{layers: make([]layerWeights, 1)}, cache: cache, pool: pool}
	m.size(rows, 1)
	return m
}

// fill grows a sequence by positions and fills them.
func fill(b *testing.B, m *Model, s *kvcache.Sequence, positions int) {
	b.Helper()
	if !m.cache.Grow(s, 0, positions) {
		b.Fatal("the cache is full")
	}
	keys, values := m.spec.KVWidths()
	x := noise(rand.New(rand.NewPCG(1, 2)), 2*(keys+values)+97)
	for pos := range positions {
		at := pos % 97
		m.cache.Put(s, 0, pos, x[at:at+keys], x[at+keys:at+keys+values])
	}
}

// BenchmarkDecode is the attention of one layer, projections excepted, for a
// token behind some context: what it reads of the cache, per second.
func BenchmarkDecode(b *testing.B) {
	for _, format := range cacheFormats {
		for _, context := range []int{1 << 10, 1 << 13, 1 << 15} {
			b.Run(fmt.Sprintf("qwen3/%v/context=%d", format, context), func(b *testing.B) {
				m := qwen3MoE(b, format, 1, context)
				var s kvcache.Sequence
				fill(b, m, &s, context)
				q, out := noise(rand.New(rand.NewPCG(3, 4)), 32*128), make([]float32, 32*128)
				rows := []Row{{Pos: context - 1, Seq: &s}}
				b.SetBytes(int64(format.Bytes(context * 1024)))
				b.ReportAllocs()
				for b.Loop() {
					m.memory.grouped.sweep.run(rows, 0, q, out)
				}
			})
			b.Run(fmt.Sprintf("deepseek/%v/context=%d", format, context), func(b *testing.B) {
				m, w := deepSeekV3(b, format, 1, context)
				var s kvcache.Sequence
				fill(b, m, &s, context)
				batches := m.divide([]Row{{Pos: context - 1, Seq: &s}}, 1)
				l := m.memory.latent
				l.batch, l.layer, l.w = &batches[0], 0, w
				b.SetBytes(int64(format.Bytes(context * 576)))
				b.ReportAllocs()
				for b.Loop() {
					l.absorb(0, 1)
				}
				flops := 2 * 128 * (576 + 512) * float64(context) * float64(b.N)
				b.ReportMetric(flops/1e9/b.Elapsed().Seconds(), "GFLOP/s")
			})
		}
	}
}

// BenchmarkPrefill is the same for the last 256 of some positions.
func BenchmarkPrefill(b *testing.B) {
	const rows = 256
	for _, format := range cacheFormats {
		for _, context := range []int{256, 2048} {
			b.Run(fmt.Sprintf("qwen3/%v/context=%d", format, context), func(b *testing.B) {
				m := qwen3MoE(b, format, rows, context)
				var s kvcache.Sequence
				fill(b, m, &s, context)
				q, out := noise(rand.New(rand.NewPCG(3, 4)), rows*32*128), make([]float32, rows*32*128)
				list := make([]Row, rows)
				for i := range list {
					list[i] = Row{Pos: context - rows + i, Seq: &s}
				}
				b.ReportAllocs()
				for b.Loop() {
					m.memory.grouped.sweep.run(list, 0, q, out)
				}
				pairs := rows * (float64(context) - (rows-1)/2.)
				b.ReportMetric(pairs*32*256*2*float64(b.N)/1e9/b.Elapsed().Seconds(), "GFLOP/s")
				b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N*rows), "µs/row")
			})
		}
	}
}
