package worker

import (
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// work is the scratch memory of one request's arithmetic.
type work struct {
	experts []*shard.Expert
	tokens  []float32 // [request tokens, hidden]
	group   shard.Work
	out     encoder
	sum     sum
}

// gather looks up the request's experts. It returns the first one that the
// store does not hold, or -1.
func (w *work) gather(store *shard.Store, r *wire.Request) int {
	w.experts = w.experts[:0]
	for _, e := range r.Experts {
		x := store.Expert(int(r.Layer), int(e))
		if x == nil {
			return int(e)
		}
		w.experts = append(w.experts, x)
	}
	return -1
}

// run computes each expert over its rows and writes to out what comes out, in the
// request's order and format, or its sums if the request asks for them.
func (w *work) run(pool *kernels.Pool, spec *model.Spec, r *wire.Request, out []byte) {
	hidden := spec.Hidden
	w.tokens = sized(w.tokens, int(r.Tokens)*hidden)
	r.Format.Decode(w.tokens, r.Activations.Bytes())
	w.out = encoder{r.Format, hidden, out}
	if r.Sum {
		w.out.bytes = w.sum.outputs(r, hidden)
	}
	w.group.RunGroup(pool, spec.Activation, shard.Group{
		Experts: w.experts, Counts: r.RowCounts, X: w.tokens, Rows: r.Rows, Weights: r.Weights,
	}, &w.out)
	if r.Sum {
		w.sum.run(pool, r, hidden, out)
	}
	w.out.bytes = nil
}

// sized returns a slice of length n, in buf's memory if that is large enough.
func sized[T any](buf []T, n int) []T {
	if cap(buf) < n {
		return make([]T, n)
	}
	return buf[:n]
}

// encoder writes outputs [rows, hidden], tile by tile.
type encoder struct {
	format wire.Format
	hidden int
	bytes  []byte
}

// Put implements shard.Sink.
func (e *encoder) Put(row, from int, y []float32) {
	size := e.format.Size()
	at := (row*e.hidden + from) * size
	e.format.Encode(e.bytes[at:at+len(y)*size], y)
}
