package forward

import "github.com/conclave-serve/conclave/kernels"

// absorbRows are attended together in the absorbed form: their queries against
// what is cached take several times the memory of the queries themselves.
const absorbRows = 16

// absorbed is the absorbed form: all heads read the latent vectors.
type absorbed struct {
	l *latent
	// The rows at hand: their first one in the batch, and their number.
	first, rows int

	q     []float32 // [rows, heads, rank+rope]: queries against what is cached
	u     []float32 // [rows, heads, rank]: sums of latent vectors
	sweep *sweep
}

func (f *absorbed) init(l *latent, maxRows int) {
	a, rope := l.m.spec.Attention, l.m.spec.Rotary.Dims
	rank, rows, pass := a.Latent.KVRank, min(maxRows, absorbRows), min(a.Heads, passHeads)
	f.l = l
	f.q = make([]float32, rows*a.Heads*(rank+rope))
	f.u = make([]float32, rows*a.Heads*rank)
	f.sweep = newSweep(shape{
		heads: a.Heads, group: a.Heads, key: rank + rope, value: rank,
		pass: pass, tile: min(rows, max(1, passQueries/pass)), scale: a.Scale,
	}, f, rows, l.m.pool)
}

// absorb attends rows first to end-1 of the batch.
func (l *latent) absorb(first, end int) {
	f, n := &l.absorbed, (end-first)*l.m.spec.Attention.Heads
	f.first, f.rows = first, end-first
	l.m.pool.Run(n, (*absorbJob)(f))
	width, rank := f.sweep.key, f.sweep.value
	f.sweep.run(l.batch.rows[first:end], l.m.spec.Layers[l.layer].Window, f.q[:n*width], f.u[:n*rank])
}

// absorbJob turns the query of one head of one row.
type absorbJob absorbed

// Do implements kernels.Job; items run over heads and, within, over rows, which
// read the same part of Wkvb.
func (j *absorbJob) Do(item, _ int) {
	l, a := j.l, j.l.m.spec.Attention
	rank, nope, width := a.Latent.KVRank, a.Latent.Nope, j.sweep.key
	head, row := item/j.rows, item%j.rows
	at := ((j.first+row)*a.Heads + head) * a.HeadDim
	q, to := l.batch.q[at:at+a.HeadDim], j.q[(row*a.Heads+head)*width:(row*a.Heads+head+1)*width]
	up, _ := l.head(head)
	kernels.MulTransposed(to[:rank], q[:nope], up)
	copy(to[rank:], q[nope:])
}

// page implements form.
func (f *absorbed) page(u *unit, i, _ int) (keys, values kernels.Cached) {
	return f.l.m.cache.Page(u.seq, f.l.layer, 0, i)
}

// finish implements form.
func (f *absorbed) finish(row, head int, st *kernels.Attn, sum []float32) {
	a := f.l.m.spec.Attention
	st.Normalize(sum)
	_, down := f.l.head(head)
	at := ((f.first+row)*a.Heads + head) * a.ValueDim
	kernels.Mul(f.l.batch.o[at:at+a.ValueDim], sum, 1, down)
}
