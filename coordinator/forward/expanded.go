package forward

import (
	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/kernels"
)

// expandRows are attended together in the expanded form, at most: they share
// the expansion of the positions that they see.
const expandRows = 2 * ExpandBlock

// expanded is the expanded form: each head reads keys and values of its own,
// which are made of the latent vectors as they are read.
type expanded struct {
	l       *latent
	threads []expandScratch
	sweep   *sweep
}

// expandScratch is one thread's: a page, and what it expands to.
type expandScratch struct {
	key          []float32 // [rank+rope]: what is cached of a position
	codes        []float32 // [PageTokens, rank]
	kv           []float32 // [PageTokens, nope+value]: Wkvb · codes
	keys, values []byte    // [PageTokens, headDim], [PageTokens, value] f32
}

func (f *expanded) init(l *latent, maxRows int) {
	a, rope := l.m.spec.Attention, l.m.spec.Rotary.Dims
	f.l, f.threads = l, make([]expandScratch, l.m.pool.Threads())
	const page = kvcache.PageTokens
	for i := range f.threads {
		f.threads[i] = expandScratch{
			key:    make([]float32, a.Latent.KVRank+rope),
			codes:  make([]float32, page*a.Latent.KVRank),
			kv:     make([]float32, page*(a.Latent.Nope+a.ValueDim)),
			keys:   make([]byte, kernels.F32.Bytes(page*a.HeadDim)),
			values: make([]byte, kernels.F32.Bytes(page*a.ValueDim)),
		}
	}
	f.sweep = newSweep(shape{
		heads: a.Heads, group: 1, key: a.HeadDim, value: a.ValueDim,
		pass: 1, tile: min(maxRows, expandRows), scale: a.Scale,
	}, f, maxRows, l.m.pool)
}

// expand attends rows first to end-1 of the batch.
func (l *latent) expand(first, end int) {
	b, a := l.batch, l.m.spec.Attention
	q, o := a.Heads*a.HeadDim, a.Heads*a.ValueDim
	l.expanded.sweep.run(b.rows[first:end], l.m.spec.Layers[l.layer].Window,
		b.q[first*q:end*q], b.o[first*o:end*o])
}

// page implements form: it expands a page for one head, as far as the unit
// sees.
func (f *expanded) page(u *unit, i, thread int) (keys, values kernels.Cached) {
	l, t := f.l, &f.threads[thread]
	a := l.m.spec.Attention
	rank, nope, value := a.Latent.KVRank, a.Latent.Nope, a.ValueDim
	last := f.sweep.rows[u.row+u.rows-1].Pos
	n := min(kvcache.PageTokens, last+1-i*kvcache.PageTokens)
	keys = kernels.Cached{Format: kernels.F32, Data: t.keys, Stride: kernels.F32.Bytes(a.HeadDim)}
	values = kernels.Cached{Format: kernels.F32, Data: t.values, Stride: kernels.F32.Bytes(value)}
	split := kernels.F32.Bytes(nope)
	latents, _ := l.m.cache.Page(u.seq, l.layer, 0, i)
	for j := range n {
		latents.Decode(t.key, j)
		copy(t.codes[j*rank:(j+1)*rank], t.key)
		kernels.EncodeCached(t.keys[j*keys.Stride+split:(j+1)*keys.Stride], t.key[rank:], kernels.F32)
	}
	at := u.head * (nope + value)
	kernels.Mul(t.kv[:n*(nope+value)], t.codes[:n*rank], n, l.w.kvb.Slice(at, at+nope+value))
	for j := range n {
		kv := t.kv[j*(nope+value) : (j+1)*(nope+value)]
		kernels.EncodeCached(t.keys[j*keys.Stride:j*keys.Stride+split], kv[:nope], kernels.F32)
		kernels.EncodeCached(t.values[j*values.Stride:(j+1)*values.Stride], kv[nope:], kernels.F32)
	}
	return keys, values
}

// finish implements form.
func (f *expanded) finish(_, _ int, st *kernels.Attn, sum []float32) { st.Normalize(sum) }
