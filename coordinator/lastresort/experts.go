package lastresort

import (
	"context"

	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// Experts are all experts of a checkpoint. One goroutine at a time may use them.
type Experts struct {
	spec  *model.Spec
	ck    *safetensors.Checkpoint
	quant shard.Quant
	pool  *kernels.Pool
	store *shard.Store
	work  *shard.Work
}

// maxQuantized is what experts that are quantised, as workers hold theirs, may take in
// memory before they are given up: more than a step of most models needs.
const maxQuantized = 1 << 30

// New returns the experts of a whole checkpoint, which has passed spec.Check, held
// as workers hold them. Checkpoint and pool must outlive them.
func New(
	spec *model.Spec, ck *safetensors.Checkpoint, quant shard.Quant, pool *kernels.Pool,
) *Experts {
	return &Experts{
		spec: spec, ck: ck, quant: quant, pool: pool,
		store: shard.NewQuantizedStore(spec, ck, quant), work: &shard.Work{},
	}
}

// Run computes an expert of a layer for the given rows of x [tokens, hidden] and
// their gate weights, as shard.Work.Run does; the outputs [rows, hidden] are valid
// until the next call. The first time it looks at all of the expert's weights.
func (x *Experts) Run(
	ctx context.Context, layer, expert int, in []float32, rows []uint32, weights []float32,
) ([]float32, error) {
	e := x.store.Expert(layer, expert)
	if e == nil {
		if x.quant != shard.QuantNone && x.store.Bytes() > maxQuantized {
			x.drop()
		}
		if err := x.store.Load(ctx, layer, shard.NewSet(expert), nil); err != nil {
			return nil, err
		}
		e = x.store.Expert(layer, expert)
	}
	return x.work.Run(x.pool, x.spec.Activation, e, in, rows, weights), nil
}

// Release gives back the memory of what was computed.
func (x *Experts) Release() {
	x.drop()
	x.work = &shard.Work{}
}

func (x *Experts) drop() {
	for layer, set := range x.store.Held() {
		for _, e := range set.Experts() {
			w := x.spec.Layers[layer].MoE.Experts[e]
			if ranges, err := model.Ranges(x.ck, w.Tensors()...); err == nil { // it has been read
				x.ck.Idle(ranges...)
			}
		}
		x.store.Drop(layer, set)
	}
}
