package forward

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// deepSeekV3 is a model with one layer of DeepSeek-V3's latent attention and
// random FP8 weights.
func deepSeekV3(b *testing.B, format kernels.Format, rows, positions int) (*Model, *layerWeights) {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	spec := &model.Spec{
		Hidden: 7168, Rotary: model.Rotary{Dims: 64, Theta: 1e4, Interleaved: true},
		Attention: model.Attention{
			Heads: 128, KVHeads: 128, HeadDim: 192, ValueDim: 128, Scale: .135,
			Latent: &model.Latent{QRank: 1536, KVRank: 512, Nope: 128, NormEps: 1e-6},
		},
		Layers: make([]model.Layer, 1),
	}
	fp8 := func(rows, cols int) kernels.Matrix {
		m := kernels.Matrix{Format: kernels.E4M3, Rows: rows, Cols: cols, Data: make([]byte, rows*cols)}
		for i := range m.Data {
			m.Data[i] = byte(rng.Uint32()) &^ 0x40 // below 2, never NaN
		}
		m.Scales = make([]float32, (rows+127)/128*((cols+127)/128))
		for i := range m.Scales {
			m.Scales[i] = .02
		}
		return m
	}
	ones := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = 1
		}
		return v
	}
	w := layerWeights{
		qa: fp8(1536, 7168), qaNorm: ones(1536), qb: fp8(24576, 1536), kva: fp8(576, 7168),
		kvaNorm: ones(512), kvb: fp8(32768, 512), o: fp8(7168, 16384),
	}
	shape := CacheShape(spec)
	shape.Format, shape.Bytes = format, int64(positions+kvcache.PageTokens)*576*4
	cache, err := kvcache.New(shape)
	if err != nil {
		b.Fatal(err)
	}
	pool := kernels.NewPool(2)
	b.Cleanup(func() {
		pool.Close()
		_ = cache.Close()
	})
	m := &Model{spec: spec, w: &weights{layers: []layerWeights{w}}, cache: cache, pool: pool}
	m.size(rows, 1)
	for i := range m.memory.h {
		m.memory.h[i] = float32(rng.NormFloat64())
	}
	return m, &m.w.layers[0]
}

// BenchmarkLatent measures one layer of DeepSeek-V3's attention: a token that
// is decoded, and 256 positions of a prompt in both forms.
func BenchmarkLatent(b *testing.B) {
	for _, c := range []struct {
		name          string
		rows, context int
		expand        bool
	}{
		{"decode", 1, 1 << 10, false}, {"decode", 1, 1 << 13, false}, {"decode16", 16, 1 << 10, false},
		{"absorbed", 256, 256, false}, {"expanded", 256, 256, true},
		{"absorbed", 256, 2048, false}, {"expanded", 256, 2048, true},
	} {
		b.Run(fmt.Sprintf("%s/context=%d", c.name, c.context), func(b *testing.B) {
			m, w := deepSeekV3(b, kernels.F32, c.rows, c.context)
			var s kvcache.Sequence
			fill(b, m, &s, c.context)
			rows := make([]Row, c.rows)
			for i := range rows {
				rows[i] = Row{Pos: c.context - c.rows + i, Seq: &s, Expand: c.expand}
			}
			batch := &m.divide(rows, 1)[0]
			for b.Loop() {
				m.attendLatent(batch, 0, w)
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N*c.rows), "ms/row")
		})
	}
}
