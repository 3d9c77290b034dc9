package forward

import (
	"context"
	"fmt"

	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// weights is everything but the routed experts: matrices as views of the
// checkpoint or quantised, vectors in f32.
type weights struct {
	embed, head kernels.Matrix
	finalNorm   []float32
	layers      []layerWeights
}

// layerWeights is one layer; the fields are those of model.Layer. What the
// model has not is nil or empty.
type layerWeights struct {
	inputNorm, postNorm []float32
	q, k, v, o          kernels.Matrix
	qNorm, kNorm, sinks []float32

	qa, qb, kva, kvb kernels.Matrix
	qaNorm, kvaNorm  []float32

	gate       kernels.Matrix // of a MoE layer
	correction []float32
	mlp        *shard.Expert // the dense MLP, or the shared expert of a MoE layer
}

// binder reads weights until the first problem.
type binder struct {
	ctx      context.Context
	ck       *safetensors.Checkpoint
	quant    shard.Quant
	nodes    *shard.Nodes
	progress func(bytes int64)
	err      error
}

// matrix returns a matrix in the chosen quantisation.
func (b *binder) matrix(l model.Linear) kernels.Matrix { return b.matrixIn(l, b.quant) }

// stored returns a matrix as the checkpoint has it: the embedding, of which a
// token reads one row, or a gate, which is small and decides.
func (b *binder) stored(l model.Linear) kernels.Matrix { return b.matrixIn(l, shard.QuantNone) }

func (b *binder) matrixIn(l model.Linear, q shard.Quant) kernels.Matrix {
	if b.err == nil {
		b.err = b.ctx.Err()
	}
	if b.err != nil || !l.Weight.Exists() {
		return kernels.Matrix{}
	}
	m, err := shard.View(b.ck, l)
	read := len(m.Data)
	if err == nil {
		err = q.Quantize(b.nodes, &m)
		q.Idle(b.ck, l.Weight)
	}
	b.err = err
	if err == nil && b.progress != nil {
		b.progress(int64(read))
	}
	return m
}

func (b *binder) vector(t model.Tensor) []float32 {
	if b.err != nil || !t.Exists() {
		return nil
	}
	v, err := shard.Vector(b.ck, t)
	b.err = err
	return v
}

func (b *binder) mlp(m *model.MLP) *shard.Expert {
	if m == nil {
		return nil
	}
	return &shard.Expert{Gate: b.matrix(m.Gate), Up: b.matrix(m.Up), Down: b.matrix(m.Down)}
}

func (b *binder) layer(l *model.Layer) layerWeights {
	w := layerWeights{
		inputNorm: b.vector(l.InputNorm), postNorm: b.vector(l.PostNorm),
		q: b.matrix(l.Q), k: b.matrix(l.K), v: b.matrix(l.V), o: b.matrix(l.O),
		qNorm: b.vector(l.QNorm), kNorm: b.vector(l.KNorm), sinks: b.vector(l.Sinks),
		qa: b.matrix(l.QA), qb: b.matrix(l.QB), kva: b.matrix(l.KVA),
		kvb:    b.matrixIn(l.KVB, b.quant.Exact()), // heads take its rows apart
		qaNorm: b.vector(l.QANorm), kvaNorm: b.vector(l.KVANorm),
	}
	if l.MoE == nil {
		w.mlp = b.mlp(l.Dense)
		return w
	}
	w.gate, w.correction = b.stored(l.MoE.Gate), b.vector(l.MoE.Correction)
	w.mlp = b.mlp(l.MoE.Shared)
	return w
}

// bind reads the weights of a checkpoint that has passed spec.Check.
func bind(ctx context.Context, cfg Config) (*weights, error) {
	spec, ck, quant := cfg.Spec, cfg.Checkpoint, cfg.Quant
	progress, err := shard.Fetch(ctx, ck, spec.AttentionTensors(), cfg.Progress)
	if err != nil {
		return nil, fmt.Errorf("load attention weights: %w", err)
	}
	b := &binder{ctx: ctx, ck: ck, quant: quant, nodes: cfg.Nodes, progress: progress}
	w := &weights{
		embed:     b.stored(model.Linear{Weight: spec.Embed}),
		finalNorm: b.vector(spec.FinalNorm),
	}
	switch {
	case !spec.TiedEmbedding:
		w.head = b.matrix(model.Linear{Weight: spec.Head})
	case quant != shard.QuantNone: // the embedding is read a second time
		w.head = b.matrix(model.Linear{Weight: spec.Embed})
	default:
		w.head = w.embed
	}
	for i := range spec.Layers {
		w.layers = append(w.layers, b.layer(&spec.Layers[i]))
	}
	if b.err != nil {
		return nil, fmt.Errorf("load attention weights: %w", b.err)
	}
	return w, nil
}
