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
// checkpoint, norms in f32.
type weights struct {
	embed, head kernels.Matrix
	finalNorm   []float32
	layers      []layerWeights
}

type layerWeights struct {
	inputNorm, postNorm, qNorm, kNorm []float32
	q, k, v, o                        kernels.Matrix
	gate                              kernels.Matrix // of a MoE layer
	dense                             shard.Expert   // of a dense layer
}

// binder reads tensors until the first problem.
type binder struct {
	ctx      context.Context
	ck       *safetensors.Checkpoint
	progress func(bytes int64)
	err      error
}

func (b *binder) matrix(t model.Tensor) kernels.Matrix {
	if b.err == nil {
		b.err = b.ctx.Err()
	}
	if b.err != nil {
		return kernels.Matrix{}
	}
	m, err := shard.View(b.ck, t)
	b.err = err
	if err == nil {
		shard.Touch(m.Data)
		if b.progress != nil {
			b.progress(int64(len(m.Data)))
		}
	}
	return m
}

func (b *binder) vector(t model.Tensor) []float32 {
	if b.err != nil {
		return nil
	}
	v, err := shard.Vector(b.ck, t)
	b.err = err
	return v
}

// bind reads the weights of a checkpoint that has passed spec.Check. progress,
// if not nil, is told the bytes of each matrix.
func bind(
	ctx context.Context, spec *model.Spec, ck *safetensors.Checkpoint, progress func(int64),
) (*weights, error) {
	b := &binder{ctx: ctx, ck: ck, progress: progress}
	w := &weights{embed: b.matrix(spec.Embed), finalNorm: b.vector(spec.FinalNorm)}
	w.head = w.embed
	if !spec.TiedEmbedding {
		w.head = b.matrix(spec.Head)
	}
	for _, l := range spec.Layers {
		lw := layerWeights{
			inputNorm: b.vector(l.InputNorm), postNorm: b.vector(l.PostNorm),
			q: b.matrix(l.Q), k: b.matrix(l.K), v: b.matrix(l.V), o: b.matrix(l.O),
		}
		if spec.Attention.QKNorm {
			lw.qNorm, lw.kNorm = b.vector(l.QNorm), b.vector(l.KNorm)
		}
		if l.MoE != nil {
			lw.gate = b.matrix(l.MoE.Gate)
		} else {
			lw.dense = shard.Expert{
				Gate: b.matrix(l.Dense.Gate), Up: b.matrix(l.Dense.Up), Down: b.matrix(l.Dense.Down),
			}
		}
		w.layers = append(w.layers, lw)
	}
	if b.err != nil {
		return nil, fmt.Errorf("load attention weights: %w", b.err)
	}
	return w, nil
}
