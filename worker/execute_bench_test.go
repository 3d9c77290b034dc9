package worker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// BenchmarkRequest computes requests of the shapes of models, with weights that no cache holds, and
// reports how many times as long they take with one expert after another: the two take turns, and
// the ratio is the median.
func BenchmarkRequest(b *testing.B) {
	gptOss := model.Activation{Alpha: 1.702, Limit: 7}
	for _, c := range []struct {
		name          string
		format        kernels.Format
		hidden, width int
		experts       int // of the layer
		tokens, top   int
		activation    model.Activation
	}{
		{"Qwen3-30B", kernels.BF16, 2048, 768, 128, 1, 8, model.Activation{}},
		{"Qwen3-30B", kernels.BF16, 2048, 768, 128, 8, 8, model.Activation{}},
		{"Qwen3-30B", kernels.BF16, 2048, 768, 128, 64, 8, model.Activation{}},
		{"gpt-oss", kernels.MXFP4, 2880, 2880, 32, 1, 4, gptOss},
		{"gpt-oss", kernels.MXFP4, 2880, 2880, 32, 16, 4, gptOss},
		{"DeepSeek-V3", kernels.E4M3, 7168, 2048, 16, 1, 8, model.Activation{}},
		{"DeepSeek-V3", kernels.E4M3, 7168, 2048, 16, 8, 8, model.Activation{}},
	} {
		layer := benchmarkLayer(c.format, c.hidden, c.width, c.experts)
		for _, threads := range []int{1, 2} {
			name := fmt.Sprintf("%s/tokens=%d/threads=%d", c.name, c.tokens, threads)
			b.Run(name, func(b *testing.B) {
				q := request{spec: &model.Spec{Hidden: c.hidden, Activation: c.activation}, layer: layer}
				q.pool = kernels.NewPool(threads)
				defer q.pool.Close()
				q.benchmark(b, c.tokens, c.top)
			})
		}
	}
}

// benchmarkLayer returns experts whose weights all lie in memory of their own.
func benchmarkLayer(f kernels.Format, hidden, width, experts int) []*shard.Expert {
	r := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 3*experts*f.Bytes(hidden*width))
	for i := range data[:1<<20] {
		data[i] = byte(r.Uint32())
		if i%2 == 1 { // in BF16, numbers of an ordinary size
			data[i] = data[i]&0x81 | 0x3c
		}
	}
	for n := 1 << 20; n < len(data); n *= 2 {
		copy(data[n:], data[:n])
	}
	matrix := func(rows, cols int) kernels.Matrix {
		m := kernels.Matrix{Format: f, Rows: rows, Cols: cols, Data: data[:f.Bytes(rows*cols)]}
		data = data[len(m.Data):]
		switch f {
		case kernels.E4M3:
			m.Scales = make([]float32, rows*cols>>14)
			for i := range m.Scales {
				m.Scales[i] = 1e-3
			}
		case kernels.MXFP4:
			m.Exponents = make([]byte, rows*cols/32)
			for i := range m.Exponents {
				m.Exponents[i] = 120
			}
		}
		return m
	}
	all := make([]*shard.Expert, experts)
	for i := range all {
		all[i] = &shard.Expert{
			Gate: matrix(width, hidden), Up: matrix(width, hidden), Down: matrix(hidden, width),
		}
	}
	return all
}

// request is what a benchmark asks of a layer of experts.
type request struct {
	spec  *model.Spec
	layer []*shard.Expert
	pool  *kernels.Pool
	wire.Request
	experts []*shard.Expert
	out     []byte
}

// benchmark draws one request after another and computes each twice.
func (q *request) benchmark(b *testing.B, tokens, top int) {
	r := rand.New(rand.NewPCG(3, 4))
	var buffers wire.Buffers
	q.Format, q.Tokens = wire.BF16, uint32(tokens)
	x := make([]float32, tokens*q.spec.Hidden)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	q.Format.Encode(q.Activations.Reserve(&buffers, 2*len(x)), x)
	var grouped time.Duration
	var ratios []float64
	var w work
	var before oneByOne
	bytes, i := 0, 0
	for ; b.Loop(); i++ {
		q.draw(r, tokens, top)
		for _, e := range q.experts {
			bytes += len(e.Gate.Data) + len(e.Up.Data) + len(e.Down.Data)
		}
		w.experts = q.experts
		var took [2]time.Duration
		for turn := range 2 {
			start := time.Now()
			which := (turn + i) % 2
			if which == 0 {
				w.run(q.pool, q.spec, &q.Request, q.out)
			} else {
				before.run(q)
			}
			took[which] = time.Since(start)
		}
		grouped += took[0]
		ratios = append(ratios, float64(took[1])/float64(took[0]))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(grouped.Seconds()*1e6/float64(i), "µs/request")
	b.ReportMetric(float64(bytes)/1e9/grouped.Seconds(), "GB/s")
}

// draw chooses experts for each token.
func (q *request) draw(r *rand.Rand, tokens, top int) {
	chosen := make([][]uint32, len(q.layer))
	for t := range tokens {
		for _, e := range r.Perm(len(q.layer))[:top] {
			chosen[e] = append(chosen[e], uint32(t))
		}
	}
	q.experts, q.RowCounts, q.Rows, q.Weights = nil, nil, nil, nil
	for e, rows := range chosen {
		if rows == nil {
			continue
		}
		q.experts, q.RowCounts = append(q.experts, q.layer[e]), append(q.RowCounts, uint32(len(rows)))
		for _, t := range rows {
			q.Rows, q.Weights = append(q.Rows, t), append(q.Weights, r.Float32())
		}
	}
	q.out = make([]byte, len(q.Rows)*q.spec.Hidden*q.Format.Size())
}

// oneByOne computes a request's experts one after another, each product on all threads.
type oneByOne struct{ tokens, x, gate, up, y []float32 }

func (o *oneByOne) run(q *request) {
	sized := func(buf []float32, n int) []float32 {
		if cap(buf) < n {
			return make([]float32, n)
		}
		return buf[:n]
	}
	hidden := q.spec.Hidden
	o.tokens = sized(o.tokens, int(q.Tokens)*hidden)
	q.Format.Decode(o.tokens, q.Activations.Bytes())
	at, row := 0, hidden*q.Format.Size()
	for i, e := range q.experts {
		n, width := int(q.RowCounts[i]), e.Gate.Rows
		end := at + n
		o.x, o.y = sized(o.x, n*hidden), sized(o.y, n*hidden)
		o.gate, o.up = sized(o.gate, n*width), sized(o.up, n*width)
		for j, t := range q.Rows[at:end] {
			copy(o.x[j*hidden:(j+1)*hidden], o.tokens[int(t)*hidden:])
		}
		q.pool.MatMul(o.gate, o.x, n, e.Gate)
		q.pool.MatMul(o.up, o.x, n, e.Up)
		shard.Activate(q.spec.Activation, o.gate, o.gate, o.up)
		q.pool.MatMul(o.y, o.gate, n, e.Down)
		for j, g := range q.Weights[at:end] {
			y := o.y[j*hidden : (j+1)*hidden]
			for k := range y {
				y[k] *= g
			}
		}
		q.Format.Encode(q.out[at*row:end*row], o.y)
		at = end
	}
}
