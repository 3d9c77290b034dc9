package forward

import (
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// memory is that of a step: a row of each slice for each of MaxRows rows. What
// the model has not is empty.
type memory struct {
	x, h, y  []float32 // [rows, hidden]: residual, normed input, block output
	q        []float32 // [rows, heads*headDim]
	o        []float32 // [rows, heads*valueDim]
	k, v     []float32 // [rows, kvHeads*headDim], [rows, kvHeads*valueDim]
	qa, kva  []float32 // [rows, qRank], [rows, kvRank+rotary]
	cos, sin []float32 // [rows, rotary/2]
	gate, up []float32 // [rows, width of an MLP]
	shared   []float32 // [rows, hidden]: output of the shared expert
	scores   []float32 // [rows, experts]
	logits   []float32 // [logit rows, vocab]
	grouped  *grouped
	latent   *latent

	norms       normJob
	project     projectJob
	activations activationJob
}

// batch is the rows of one micro-batch with their part of the step's memory.
type batch struct {
	micro int
	rows  []Row
	layer int // the last one it has been through, -1 at first

	x, h, y    []float32
	q, o, k, v []float32
	qa, kva    []float32
	cos, sin   []float32
	gate, up   []float32
	shared     []float32
	scores     []float32
	choice     router.Choice
}

// size takes the memory of steps of n rows.
func (m *Model) size(n, logits int) {
	s, spec, a := &m.memory, m.spec, m.spec.Attention
	floats := func(width int) []float32 { return make([]float32, n*width) }
	s.x, s.h, s.y = floats(spec.Hidden), floats(spec.Hidden), floats(spec.Hidden)
	s.q, s.o = floats(a.Heads*a.HeadDim), floats(a.Heads*a.ValueDim)
	s.cos, s.sin = floats(spec.Rotary.Dims/2), floats(spec.Rotary.Dims/2)
	if l := a.Latent; l != nil {
		s.qa, s.kva = floats(l.QRank), floats(l.KVRank+spec.Rotary.Dims)
		s.latent = newLatent(m, n)
	} else {
		s.k, s.v = floats(a.KVHeads*a.HeadDim), floats(a.KVHeads*a.ValueDim)
		s.project.m, s.grouped = m, newGrouped(m, n)
	}
	width, shared := 0, false
	for l := range m.w.layers {
		if mlp := m.w.layers[l].mlp; mlp != nil {
			width = max(width, mlp.Gate.Rows)
			shared = shared || spec.Layers[l].MoE != nil
		}
	}
	s.gate, s.up = floats(width), floats(width)
	if shared {
		s.shared = floats(spec.Hidden)
	}
	s.scores = floats(spec.Experts)
	s.logits = make([]float32, logits*spec.Vocab)
	for i := range m.batches {
		m.batches[i].micro = i
		m.batches[i].choice.K = spec.TopK
	}
}

// divide makes micro-batches of rows. Keys and values of a row are in the cache
// before any later row of the step attends, whichever parts the two are in.
func (m *Model) divide(rows []Row, parts int) []batch {
	parts = max(1, min(parts, MicroBatches, len(rows)))
	lo := 0
	for i := range parts {
		hi := cut(rows, len(rows)*(i+1)/parts, lo)
		m.take(&m.batches[i], rows, lo, hi)
		lo = hi
	}
	return m.batches[:parts]
}

// cut returns where to end a part that should end about at hi and begins at lo:
// where a sequence does, if that is near, since the parts of a prompt share
// their reading of the cache.
func cut(rows []Row, hi, lo int) int {
	if hi == len(rows) {
		return hi
	}
	near := (hi - lo) / 4
	for d := range near + 1 {
		for _, at := range [2]int{hi - d, hi + d} {
			if at > lo && at < len(rows) && rows[at-1].Seq != rows[at].Seq {
				return at
			}
		}
	}
	return hi
}

// take makes b the rows lo to hi of a step.
func (m *Model) take(b *batch, rows []Row, lo, hi int) {
	s, n := &m.memory, len(m.memory.x)/m.spec.Hidden
	part := func(all []float32) []float32 {
		width := len(all) / n
		return all[lo*width : hi*width : hi*width]
	}
	b.rows, b.layer = rows[lo:hi], -1
	b.x, b.h, b.y = part(s.x), part(s.h), part(s.y)
	b.q, b.o, b.k, b.v = part(s.q), part(s.o), part(s.k), part(s.v)
	b.qa, b.kva, b.cos, b.sin = part(s.qa), part(s.kva), part(s.cos), part(s.sin)
	b.gate, b.up, b.shared = part(s.gate), part(s.up), part(s.shared)
	b.scores = part(s.scores)
	b.choice.Resize(hi - lo)
}

// activationJob activates rows of an MLP: gate becomes act(gate, up).
type activationJob struct {
	activation model.Activation
	gate, up   []float32 // [rows, width]
	width      int
}

// Do implements kernels.Job for one row.
func (j *activationJob) Do(row, _ int) {
	lo, hi := row*j.width, (row+1)*j.width
	shard.Activate(j.activation, j.gate[lo:hi], j.gate[lo:hi], j.up[lo:hi])
}

// normJob normalises rows of values.
type normJob struct {
	dst, x, weights []float32
	eps             float32
}

// norm sets the rows of dst to RMS(x; w), each of len(w) values; it writes
// len(x) values.
func (m *Model) norm(dst, x, w []float32, eps float32) {
	j := &m.memory.norms
	j.dst, j.x, j.weights, j.eps = dst, x, w, eps
	m.pool.Run(len(x)/len(w), j)
}

// Do implements kernels.Job for one row.
func (j *normJob) Do(row, _ int) {
	lo, hi := row*len(j.weights), (row+1)*len(j.weights)
	kernels.RMSNorm(j.dst[lo:hi], j.x[lo:hi], j.weights, j.eps)
}
