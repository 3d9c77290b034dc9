package forward

import (
	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/kernels"
)

// attend sets y to Wo · attention(h) for all rows, and adds their keys and
// values to the cache. It is grouped-query attention:
//
//	q = Wq h, k = Wk h, v = Wv h
//	each q head and each k head: RMS norm over its headDim values, if the model
//	has one, then RoPE
//	o_head = Σ_j softmax_j(q_head · k_j * scale) v_j
//	y = Wo concat(o_head)
//
// over the positions j ≤ the row's, or the latest of them in a layer with a
// window; in a layer with sinks the softmax has one more logit, which has no
// value. Query head i reads key-value head i / (Heads/KVHeads).
func (m *Model) attend(b *batch, layer int, w *layerWeights) {
	s, a, n := &m.memory, m.spec.Attention, len(b.rows)
	m.pool.MatMul(b.q, b.h, n, w.q)
	m.pool.MatMul(b.k, b.h, n, w.k)
	m.pool.MatMul(b.v, b.h, n, w.v)

	s.project.batch, s.project.layer, s.project.w = b, layer, w
	m.pool.Run(n, &s.project)

	s.attention.batch, s.attention.layer, s.attention.sinks = b, layer, w.sinks
	m.pool.Run(n*a.KVHeads, &s.attention)

	m.pool.MatMul(b.y, b.o, n, w.o)
}

// rotate turns the query or key of a row of b, which begins with the rotated
// values.
func (m *Model) rotate(x []float32, b *batch, row int) {
	half := m.spec.Rotary.Dims / 2
	cos, sin := b.cos[row*half:(row+1)*half], b.sin[row*half:(row+1)*half]
	if m.spec.Rotary.Interleaved {
		kernels.RopeInterleaved(x[:2*half], cos, sin)
		return
	}
	kernels.RopeHalf(x[:2*half], cos, sin)
}

// projectJob finishes a row's queries, keys and values and caches the latter.
type projectJob struct {
	m     *Model
	batch *batch
	layer int
	w     *layerWeights
}

// Do implements kernels.Job for one row.
func (j *projectJob) Do(row, _ int) {
	m, a, b := j.m, j.m.spec.Attention, j.batch
	d := a.HeadDim
	heads := func(x []float32, n int, norm []float32) {
		for i := range n {
			head := x[(row*n+i)*d : (row*n+i+1)*d]
			if norm != nil {
				kernels.RMSNorm(head, head, norm, m.spec.NormEps)
			}
			m.rotate(head, b, row)
		}
	}
	heads(b.q, a.Heads, j.w.qNorm)
	heads(b.k, a.KVHeads, j.w.kNorm)
	r := b.rows[row]
	keys, values := a.KVHeads*d, a.KVHeads*a.ValueDim
	m.cache.Put(r.Seq, j.layer, r.Pos, b.k[row*keys:(row+1)*keys], b.v[row*values:(row+1)*values])
}

// attentionJob attends the query heads of one row that share a key-value head.
type attentionJob struct {
	m      *Model
	batch  *batch
	layer  int
	sinks  []float32   // [heads], or nil
	scores [][]float32 // by thread: one page of scores
}

func newAttentionJob(m *Model, threads int) attentionJob {
	j := attentionJob{m: m, scores: make([][]float32, threads)}
	for i := range j.scores {
		j.scores[i] = make([]float32, kvcache.PageTokens)
	}
	return j
}

// Do implements kernels.Job; items run over rows and, within, over key-value
// heads.
func (j *attentionJob) Do(item, thread int) {
	a := j.m.spec.Attention
	row, kv := item/a.KVHeads, item%a.KVHeads
	group := a.Heads / a.KVHeads
	for head := kv * group; head < (kv+1)*group; head++ {
		j.head(row, head, kv, j.scores[thread])
	}
}

// head attends one query head. The softmax reduces page by page, so that the
// bits depend on absolute positions alone.
func (j *attentionJob) head(row, head, kv int, scores []float32) {
	m, a, r := j.m, j.m.spec.Attention, j.batch.rows[row]
	at := row*a.Heads + head
	q := j.batch.q[at*a.HeadDim : (at+1)*a.HeadDim]
	o := j.batch.o[at*a.ValueDim : (at+1)*a.ValueDim]
	first := 0
	if window := m.spec.Layers[j.layer].Window; window > 0 {
		first = max(0, r.Pos+1-window)
	}
	var state [1]kernels.Attn
	for first <= r.Pos {
		page, skip := first/kvcache.PageTokens, first%kvcache.PageTokens
		keys, values := m.cache.Page(r.Seq, j.layer, kv, page)
		n := min(kvcache.PageTokens-skip, r.Pos+1-first)
		kernels.AttendQueries(state[:], o, q, keys.From(skip), values.From(skip), n, a.Scale, scores)
		first += n
	}
	if j.sinks != nil {
		state[0].Sink(o, j.sinks[head])
	}
	state[0].Normalize(o)
}
