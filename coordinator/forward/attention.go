package forward

import "github.com/conclave-serve/conclave/kernels"

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
	s, n := &m.memory, len(b.rows)
	m.pool.MatMulAll(b.h, n, kernels.Product{Dst: b.q, W: w.q},
		kernels.Product{Dst: b.k, W: w.k}, kernels.Product{Dst: b.v, W: w.v})

	s.project.batch, s.project.layer, s.project.w = b, layer, w
	m.pool.Run(n*s.project.perRow(), &s.project)

	s.grouped.layer, s.grouped.sinks = layer, w.sinks
	s.grouped.sweep.run(b.rows, m.spec.Layers[layer].Window, b.q, b.o)

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

// projectHeads is how many query heads are an item of a projectJob: a single row is
// work for all threads, none of which falls asleep before attention.
const projectHeads = 16

// projectJob finishes queries, keys and values, and caches the latter. The first item
// of a row is its keys and values, the others are some of its query heads each.
type projectJob struct {
	m     *Model
	batch *batch
	layer int
	w     *layerWeights
}

// perRow is the number of items of a row.
func (j *projectJob) perRow() int {
	return 1 + (j.m.spec.Attention.Heads+projectHeads-1)/projectHeads
}

// Do implements kernels.Job.
func (j *projectJob) Do(item, _ int) {
	m, a, b := j.m, j.m.spec.Attention, j.batch
	row, part := item/j.perRow(), item%j.perRow()
	if part > 0 {
		first := (part - 1) * projectHeads
		n := min(projectHeads, a.Heads-first)
		at := (row*a.Heads + first) * a.HeadDim
		j.heads(b.q[at:at+n*a.HeadDim], row, j.w.qNorm)
		return
	}
	width, values := a.KVHeads*a.HeadDim, a.KVHeads*a.ValueDim
	keys := b.k[row*width : (row+1)*width]
	j.heads(keys, row, j.w.kNorm)
	r := b.rows[row]
	m.cache.Put(r.Seq, j.layer, r.Pos, keys, b.v[row*values:(row+1)*values])
}

// heads normalises and turns some heads of a row.
func (j *projectJob) heads(x []float32, row int, norm []float32) {
	d := j.m.spec.Attention.HeadDim
	for ; len(x) > 0; x = x[d:] {
		head := x[:d]
		if norm != nil {
			kernels.RMSNorm(head, head, norm, j.m.spec.NormEps)
		}
		j.m.rotate(head, j.batch, row)
	}
}

// grouped is grouped-query attention as a form of attending.
type grouped struct {
	m     *Model
	layer int
	sinks []float32 // [heads], or nil
	sweep *sweep
}

func newGrouped(m *Model, maxRows int) *grouped {
	a := m.spec.Attention
	group := a.Heads / a.KVHeads
	pass := min(group, passHeads)
	g := &grouped{m: m}
	g.sweep = newSweep(shape{
		heads: a.Heads, group: group, key: a.HeadDim, value: a.ValueDim,
		pass: pass, tile: min(maxRows, max(1, passQueries/pass)), scale: a.Scale,
	}, g, maxRows, m.pool)
	return g
}

// page implements form.
func (g *grouped) page(u *unit, i, _ int) (keys, values kernels.Cached) {
	return g.m.cache.Page(u.seq, g.layer, u.kv, i)
}

// finish implements form.
func (g *grouped) finish(_, head int, st *kernels.Attn, sum []float32) {
	if g.sinks != nil {
		st.Sink(sum, g.sinks[head])
	}
	st.Normalize(sum)
}
