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

// run computes each expert over its rows and writes what comes out to out, in the
// request's order and format.
func (w *work) run(pool *kernels.Pool, spec *model.Spec, r *wire.Request, out []byte) {
	hidden := spec.Hidden
	if n := int(r.Tokens) * hidden; cap(w.tokens) < n {
		w.tokens = make([]float32, n)
	} else {
		w.tokens = w.tokens[:n]
	}
	r.Format.Decode(w.tokens, r.Activations.Bytes())
	w.out = encoder{r.Format, hidden, out}
	w.group.RunGroup(pool, spec.Activation, shard.Group{
		Experts: w.experts, Counts: r.RowCounts, X: w.tokens, Rows: r.Rows, Weights: r.Weights,
	}, &w.out)
	w.out.bytes = nil
}

// encoder writes outputs [rows, hidden] to a reply, tile by tile.
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
