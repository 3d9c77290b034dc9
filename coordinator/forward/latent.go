package forward

import (
	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// ExpandBlock is the number of positions of a prompt that latent attention
// computes in the expanded form together: see Expands.
const ExpandBlock = 8 * kvcache.PageTokens

// Expands reports whether latent attention computes a position in the expanded
// form, which is cheaper for many queries, rather than in the absorbed one.
// The two agree up to rounding only; so the choice depends on the position and
// the length of the prompt, never on how the prompt is cut into chunks: all
// whole blocks of the prompt are expanded.
func Expands(pos, prompt int) bool { return pos < wholeBlocks(prompt) }

func wholeBlocks(prompt int) int { return prompt / ExpandBlock * ExpandBlock }

// Expanded returns how many positions of a sequence have keys and values that
// were computed in the expanded form: those for which Expands is true. It is 0
// for models with one form.
func Expanded(spec *model.Spec, prompt int) int {
	if spec.Attention.Latent == nil {
		return 0
	}
	return wholeBlocks(prompt)
}

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
	kva := kernels.Product{Dst: b.kva, W: w.kva}
	if a.Latent.QRank > 0 {
		m.pool.MatMulAll(b.h, n, kernels.Product{Dst: b.qa, W: w.qa}, kva)
		m.norm(b.qa, b.qa, w.qaNorm, a.Latent.NormEps)
		m.pool.MatMul(b.q, b.qa, n, w.qb)
	} else {
		m.pool.MatMulAll(b.h, n, kernels.Product{Dst: b.q, W: w.q}, kva)
	}

	l := m.memory.latent
	l.batch, l.layer, l.w = b, layer, w
	m.pool.Run(n, (*latentProjectJob)(l))

	for i := 0; i < n; {
		end := i + 1
		for end < n && rows[end].Expand == rows[i].Expand {
			end++
		}
		if rows[i].Expand {
			l.expand(i, end)
		} else {
			end = min(end, i+absorbRows)
			l.absorb(i, end)
		}
		i = end
	}
	m.pool.MatMul(b.y, b.o, n, w.o)
}

// latent is the work of one layer's latent attention.
type latent struct {
	m     *Model
	batch *batch
	layer int
	w     *layerWeights

	absorbed absorbed
	expanded expanded
}

func newLatent(m *Model, maxRows int) *latent {
	l := &latent{m: m}
	l.absorbed.init(l, maxRows)
	l.expanded.init(l, maxRows)
	return l
}

// head returns W_UK [nope, rank] and W_UV [value, rank] of a head.
func (l *latent) head(head int) (up, down kernels.Matrix) {
	a := l.m.spec.Attention
	at := head * (a.Latent.Nope + a.ValueDim)
	middle := at + a.Latent.Nope
	return l.w.kvb.Slice(at, middle), l.w.kvb.Slice(middle, middle+a.ValueDim)
}

// latentProjectJob finishes a row's queries and caches its latent vector.
type latentProjectJob latent

// Do implements kernels.Job for one row.
func (j *latentProjectJob) Do(row, _ int) {
	m, a, b := j.m, j.m.spec.Attention, j.batch
	for head := range a.Heads {
		at := (row*a.Heads + head) * a.HeadDim
		m.rotate(b.q[at+a.Latent.Nope:at+a.HeadDim], b, row)
	}
	rank := a.Latent.KVRank
	width := rank + m.spec.Rotary.Dims
	key := b.kva[row*width : (row+1)*width]
	kernels.RMSNorm(key[:rank], key[:rank], j.w.kvaNorm, a.Latent.NormEps)
	m.rotate(key[rank:], b, row)
	r := b.rows[row]
	m.cache.Put(r.Seq, j.layer, r.Pos, key, nil)
}
