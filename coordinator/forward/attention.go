package forward

import (
	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/kernels"
)

// attend sets y to Wo · attention(h) for all rows, and adds their keys and
// values to the cache:
//
//	q = Wq h, k = Wk h, v = Wv h
//	each q head and each k head: RMS norm over its headDim values, then RoPE
//	o_head = Σ_j softmax_j(q_head · k_j * scale) v_j      over j ≤ the row's position
//	y = Wo concat(o_head)
//
// Query head i reads key-value head i / (Heads/KVHeads).
func (m *Model) attend(rows []Row, layer int, w *layerWeights) {
	s, a, hidden, n := &m.scratch, m.spec.Attention, m.spec.Hidden, len(rows)
	h := s.h[:n*hidden]
	m.pool.MatMul(s.q[:n*a.Heads*a.HeadDim], h, n, w.q)
	m.pool.MatMul(s.k[:n*a.KVHeads*a.HeadDim], h, n, w.k)
	m.pool.MatMul(s.v[:n*a.KVHeads*a.HeadDim], h, n, w.v)

	s.project.rows, s.project.layer, s.project.w = rows, layer, w
	m.pool.Run(n, &s.project)

	s.attention.rows, s.attention.layer = rows, layer
	m.pool.Run(n*a.KVHeads, &s.attention)

	m.pool.MatMul(s.y[:n*hidden], s.o[:n*a.Heads*a.HeadDim], n, w.o)
}

// projectJob finishes a row's queries, keys and values and caches the latter.
type projectJob struct {
	m     *Model
	rows  []Row
	layer int
	w     *layerWeights
}

// Do implements kernels.Job for one row.
func (j *projectJob) Do(row, _ int) {
	m, a := j.m, j.m.spec.Attention
	s, d, half := &m.scratch, a.HeadDim, m.spec.Rotary.Dims/2
	cos, sin := s.cos[row*half:(row+1)*half], s.sin[row*half:(row+1)*half]
	heads := func(x []float32, n int, norm []float32) {
		for i := range n {
			head := x[(row*n+i)*d : (row*n+i+1)*d]
			if norm != nil {
				kernels.RMSNorm(head, head, norm, m.spec.NormEps)
			}
			kernels.RopeHalf(head[:2*half], cos, sin)
		}
	}
	heads(s.q, a.Heads, j.w.qNorm)
	heads(s.k, a.KVHeads, j.w.kNorm)
	r := j.rows[row]
	key, value := m.cache.At(r.Seq, j.layer, r.Pos)
	width := a.KVHeads * d
	copy(key, s.k[row*width:(row+1)*width])
	copy(value, s.v[row*width:(row+1)*width])
}

// attentionJob attends the query heads of one row that share a key-value head.
type attentionJob struct {
	m      *Model
	rows   []Row
	layer  int
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
	m, a := j.m, j.m.spec.Attention
	s, d := &m.scratch, a.HeadDim
	row, kv := item/a.KVHeads, item%a.KVHeads
	group, width := a.Heads/a.KVHeads, a.KVHeads*d
	r := j.rows[row]
	for head := kv * group; head < (kv+1)*group; head++ {
		at := (row*a.Heads + head) * d
		q, o := s.q[at:at+d], s.o[at:at+d]
		var state kernels.Attn
		for pos := 0; pos <= r.Pos; pos += kvcache.PageTokens {
			keys, values := m.cache.Page(r.Seq, j.layer, pos/kvcache.PageTokens)
			n := min(kvcache.PageTokens, r.Pos+1-pos)
			kernels.AttendBlock(&state, o, q, keys[kv*d:], values[kv*d:], width, n,
				a.Scale, j.scores[thread])
		}
		state.Normalize(o)
	}
}
