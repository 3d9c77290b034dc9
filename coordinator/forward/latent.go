package forward

import (
	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/kernels"
)

// ExpandBlock is the number of positions of a prompt that latent attention
// computes in the expanded form together: see Expands.
const ExpandBlock = 8 * kvcache.PageTokens

// Expands reports whether latent attention computes a position in the expanded
// form, which is cheaper for many queries, rather than in the absorbed one.
// The two agree up to rounding only; so the choice depends on the position and
// the length of the prompt, never on how the prompt is cut into chunks: all
// whole blocks of the prompt are expanded.
func Expands(pos, prompt int) bool {
	return (pos/ExpandBlock+1)*ExpandBlock <= prompt
}

const (
	// latentHeads share a pass over the cache in the absorbed form, so that a
	// page of it is read from the cache of the processor.
	latentHeads = 8
	// expandPages are expanded at once.
	expandPages = 2
)

// attendLatent is attend for multi-head latent attention (DeepSeek-V2, 2024).
// What a position leaves in the cache is its latent vector c and one rotated
// key k_pe for all heads:
//
//	q = Wq h, or Wqb RMS(Wqa h): heads of q_nope and q_pe; RoPE over q_pe
//	t = Wkva h; c = RMS(t[:rank]), k_pe = RoPE(t[rank:])
//	k_nope, v of a head = Wkvb c                               W_UK, W_UV by rows
//
// expanded: o_head = Σ_j softmax_j((q_nope·k_nope_j + q_pe·k_pe_j) * scale) v_j
// absorbed: the same with q_nope·k_nope = (W_UKᵀ q_nope)·c and Σ p_j v_j = W_UV Σ p_j c_j
func (m *Model) attendLatent(b *batch, layer int, w *layerWeights) {
	a, rows, n := m.spec.Attention, b.rows, len(b.rows)
	if a.Latent.QRank > 0 {
		m.pool.MatMul(b.qa, b.h, n, w.qa)
		m.norm(b.qa, b.qa, w.qaNorm, a.Latent.NormEps)
		m.pool.MatMul(b.q, b.qa, n, w.qb)
	} else {
		m.pool.MatMul(b.q, b.h, n, w.q)
	}
	m.pool.MatMul(b.kva, b.h, n, w.kva)

	l := &m.memory.latent
	l.batch, l.layer, l.w = b, layer, w
	m.pool.Run(n, (*latentProjectJob)(l))

	l.absorbed = l.absorbed[:0]
	for i := 0; i < n; {
		if !rows[i].Expand {
			l.absorbed = append(l.absorbed, i)
			i++
			continue
		}
		end := i + 1
		for end < n && rows[end].Expand && rows[end].Seq == rows[i].Seq {
			end++
		}
		m.attendExpanded(l, i, end)
		i = end
	}
	groups := (a.Heads + latentHeads - 1) / latentHeads
	m.pool.Run(len(l.absorbed)*groups, (*absorbedJob)(l))

	m.pool.MatMul(b.y, b.o, n, w.o)
}

// latent is the work of one layer's latent attention, and its scratch memory.
type latent struct {
	m     *Model
	batch *batch
	layer int
	w     *layerWeights

	absorbed []int // rows in the absorbed form
	threads  []latentScratch

	// The expanded form: rows first to last attend positions base to base+n.
	first, last, base, n int
	keys                 []float32      // [positions, rank+rope]: what is cached
	codes                []float32      // [positions, rank]: latent vectors
	kvb                  []float32      // [positions, heads*(nope+value)]: Wkvb · codes
	heads                []float32      // [positions, heads*(headDim+value)]: keys and values
	states               []kernels.Attn // [rows, heads]
}

// latentScratch is one thread's.
type latentScratch struct {
	scores []float32 // [PageTokens]
	q      []float32 // [latentHeads, rank+rope]: queries against what is cached
	u      []float32 // [latentHeads, rank]: sums of latent vectors
}

func newLatent(m *Model, maxRows, threads int) latent {
	a := m.spec.Attention
	rank, heads := a.Latent.KVRank, a.Heads
	const positions = expandPages * kvcache.PageTokens
	l := latent{
		m: m, absorbed: make([]int, 0, maxRows), threads: make([]latentScratch, threads),
		keys:   make([]float32, positions*(rank+m.spec.Rotary.Dims)),
		codes:  make([]float32, positions*rank),
		kvb:    make([]float32, positions*heads*(a.Latent.Nope+a.ValueDim)),
		heads:  make([]float32, positions*heads*(a.HeadDim+a.ValueDim)),
		states: make([]kernels.Attn, maxRows*heads),
	}
	for i := range l.threads {
		l.threads[i] = latentScratch{
			scores: make([]float32, latentHeads*kvcache.PageTokens),
			q:      make([]float32, latentHeads*(rank+m.spec.Rotary.Dims)),
			u:      make([]float32, latentHeads*rank),
		}
	}
	return l
}

// latentProjectJob finishes a row's queries and caches its latent vector.
type latentProjectJob latent

// Do implements kernels.Job for one row.
func (j *latentProjectJob) Do(row, _ int) {
	m, a, b := j.m, j.m.spec.Attention, j.batch
	rank := a.Latent.KVRank
	for head := range a.Heads {
		at := (row*a.Heads + head) * a.HeadDim
		m.rotate(b.q[at+a.Latent.Nope:at+a.HeadDim], b, row)
	}
	r := b.rows[row]
	width := rank + m.spec.Rotary.Dims
	key := b.kva[row*width : (row+1)*width]
	kernels.RMSNorm(key[:rank], key[:rank], j.w.kvaNorm, a.Latent.NormEps)
	m.rotate(key[rank:], b, row)
	m.cache.Put(r.Seq, j.layer, r.Pos, key, nil)
}

// absorbedJob attends some heads of one row in the absorbed form.
type absorbedJob latent

// Do implements kernels.Job. Items run over groups of heads and, within, over
// rows: the rows of a group read the same part of Wkvb.
func (j *absorbedJob) Do(item, thread int) {
	m, a, t := j.m, j.m.spec.Attention, &j.threads[thread]
	row := j.absorbed[item%len(j.absorbed)]
	first := item / len(j.absorbed) * latentHeads
	n := min(latentHeads, a.Heads-first)
	rank, width := a.Latent.KVRank, a.Latent.KVRank+m.spec.Rotary.Dims
	for i := range n {
		at := (row*a.Heads + first + i) * a.HeadDim
		q := j.batch.q[at : at+a.HeadDim]
		up, _ := j.head(first + i)
		kernels.MulTransposed(t.q[i*width:i*width+rank], q[:a.Latent.Nope], up)
		copy(t.q[i*width+rank:(i+1)*width], q[a.Latent.Nope:])
	}
	var states [latentHeads]kernels.Attn
	r := j.batch.rows[row]
	for pos := 0; pos <= r.Pos; pos += kvcache.PageTokens {
		keys, values := m.cache.Page(r.Seq, j.layer, 0, pos/kvcache.PageTokens)
		positions := min(kvcache.PageTokens, r.Pos+1-pos)
		kernels.AttendQueries(states[:n], t.u[:n*rank], t.q[:n*width], keys, values, positions,
			a.Scale, t.scores)
	}
	for i := range n {
		u := t.u[i*rank : (i+1)*rank]
		states[i].Normalize(u)
		at := (row*a.Heads + first + i) * a.ValueDim
		_, down := j.head(first + i)
		kernels.Mul(j.batch.o[at:at+a.ValueDim], u, 1, down)
	}
}

// head returns W_UK [nope, rank] and W_UV [value, rank] of a head.
func (j *absorbedJob) head(head int) (up, down kernels.Matrix) {
	a := j.m.spec.Attention
	at := head * (a.Latent.Nope + a.ValueDim)
	middle := at + a.Latent.Nope
	return j.w.kvb.Slice(at, middle), j.w.kvb.Slice(middle, middle+a.ValueDim)
}

// attendExpanded attends rows first to last, neighbours in one sequence, in the
// expanded form: the cached positions are expanded some pages at a time, for
// all rows.
func (m *Model) attendExpanded(l *latent, first, last int) {
	a := m.spec.Attention
	r := l.batch.rows[last-1]
	l.first, l.last = first, last
	clear(l.states[first*a.Heads : last*a.Heads])
	const tile = expandPages * kvcache.PageTokens
	for l.base = 0; l.base <= r.Pos; l.base += tile {
		l.n = min(tile, r.Pos+1-l.base)
		rank, width := a.Latent.KVRank, a.Latent.KVRank+m.spec.Rotary.Dims
		for i := range l.n {
			keys, _ := m.cache.Page(r.Seq, l.layer, 0, (l.base+i)/kvcache.PageTokens)
			key := l.keys[i*width : (i+1)*width]
			keys.Decode(key, (l.base+i)%kvcache.PageTokens)
			copy(l.codes[i*rank:(i+1)*rank], key)
		}
		m.pool.MatMul(l.kvb[:l.n*l.w.kvb.Rows], l.codes[:l.n*rank], l.n, l.w.kvb)
		m.pool.Run(l.n, (*gatherJob)(l))
		m.pool.Run((last-first)*a.Heads, (*expandedJob)(l))
	}
	for row := first; row < last; row++ {
		for head := range a.Heads {
			at := row*a.Heads + head
			l.states[at].Normalize(l.batch.o[at*a.ValueDim : (at+1)*a.ValueDim])
		}
	}
}

// gatherJob puts together the keys and values of all heads of one position.
type gatherJob latent

// Do implements kernels.Job for one position.
func (j *gatherJob) Do(i, _ int) {
	m, a := j.m, j.m.spec.Attention
	nope, value := a.Latent.Nope, a.ValueDim
	key := j.keys[i*(a.Latent.KVRank+m.spec.Rotary.Dims):]
	from, to := j.kvb[i*a.Heads*(nope+value):], j.heads[i*a.Heads*(a.HeadDim+value):]
	for range a.Heads {
		copy(to, from[:nope])
		copy(to[nope:a.HeadDim], key[a.Latent.KVRank:])
		copy(to[a.HeadDim:], from[nope:nope+value])
		from, to = from[nope+value:], to[a.HeadDim+value:]
	}
}

// expandedJob attends one head of one row to the expanded positions.
type expandedJob latent

// Do implements kernels.Job; items run over heads and, within, over rows.
func (j *expandedJob) Do(item, thread int) {
	a := j.m.spec.Attention
	rows := j.last - j.first
	row, head := j.first+item%rows, item/rows
	at, width := row*a.Heads+head, a.HeadDim+a.ValueDim
	q := j.batch.q[at*a.HeadDim : (at+1)*a.HeadDim]
	o := j.batch.o[at*a.ValueDim : (at+1)*a.ValueDim]
	for skip := 0; skip < j.n; skip += kvcache.PageTokens {
		n := min(kvcache.PageTokens, j.batch.rows[row].Pos+1-j.base-skip)
		if n <= 0 {
			return
		}
		keys := j.heads[(skip*a.Heads+head)*width:]
		kernels.AttendBlock(&j.states[at], o, q, keys, keys[a.HeadDim:], a.Heads*width, n,
			a.Scale, j.threads[thread].scores)
	}
}
