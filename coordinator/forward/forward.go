package forward

import (
	"context"
	"fmt"

	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// Experts runs the routed experts of layers, for MicroBatches of them at once.
type Experts interface {
	// Send starts the chosen experts of layer for x [tokens, hidden], the rows
	// of a micro-batch. x and c stay as they are until Receive has returned.
	Send(micro, layer int, x []float32, c router.Choice)
	// Receive waits for them, and sets out [tokens, hidden] to the weighted sum
	// of their outputs.
	Receive(ctx context.Context, micro int, out []float32) error
}

// MicroBatches is how many parts of a step may be under way at once: workers
// compute the experts of one while the coordinator attends to the other.
const MicroBatches = 2

// Config is what a model is made of.
type Config struct {
	Spec       *model.Spec
	Checkpoint *safetensors.Checkpoint
	Cache      *kvcache.Cache
	Pool       *kernels.Pool
	Experts    Experts
	// Quant is what matrices are quantised to as they are read, but for the embedding
	// and the gates.
	Quant shard.Quant
	// Nodes, if set, is where they lie then: the memory nodes of the pool's threads.
	Nodes *shard.Nodes
	// MaxRows bounds the rows of a step, MaxLogits those that ask for logits.
	MaxRows, MaxLogits int
	// Progress, if set, is told the bytes of each matrix as it is read.
	Progress func(bytes int64)
}

// Row is one position of one sequence in a step. Rows of one sequence are
// adjacent and ascending.
type Row struct {
	Token int32
	Pos   int
	// Seq has room for Pos; earlier positions are in it already or are earlier
	// rows of the same step.
	Seq *kvcache.Sequence
	// Expand asks latent attention for the expanded form: see Expands.
	Expand bool
	// Logits asks for the distribution of the next token.
	Logits bool
}

// Model is a loaded model. It runs one step at a time.
type Model struct {
	spec    *model.Spec
	w       *weights
	cache   *kvcache.Cache
	pool    *kernels.Pool
	rotary  kernels.Rotary
	gate    *router.Gate
	experts Experts
	memory  memory
	batches [MicroBatches]batch
	// Trace, if set, sees the residual stream [rows, hidden] of each micro-batch
	// after the embedding (layer -1) and after each layer. For tests.
	Trace func(layer int, hidden []float32)
	// TraceChoice, if set, sees what the gate of a layer chose. For tests.
	TraceChoice func(layer int, c router.Choice)
	// Clock, if set, hears of the end of each phase of a step; the next begins there. With
	// micro-batches the phases of several take turns. For measurements.
	Clock func(Phase)
}

// CacheShape returns what a cache for a model holds; the caller says how, and
// in how much memory.
func CacheShape(spec *model.Spec) kvcache.Config {
	keys, values := spec.KVWidths()
	cfg := kvcache.Config{Keys: keys, Values: values}
	if a := spec.Attention; a.Latent == nil {
		cfg.KeyHead, cfg.ValueHead = a.HeadDim, a.ValueDim
	}
	for _, l := range spec.Layers {
		cfg.Windows = append(cfg.Windows, l.Window)
	}
	return cfg
}

// New loads the attention half of a checkpoint.
func New(ctx context.Context, cfg Config) (*Model, error) {
	if cfg.MaxRows < 1 || cfg.MaxLogits < 1 || cfg.MaxLogits > cfg.MaxRows {
		return nil, fmt.Errorf("forward: steps of %d rows with %d logits", cfg.MaxRows, cfg.MaxLogits)
	}
	w, err := bind(ctx, cfg)
	if err != nil {
		return nil, err
	}
	spec := cfg.Spec
	m := &Model{
		spec: spec, w: w, cache: cfg.Cache, pool: cfg.Pool, experts: cfg.Experts,
		rotary: newRotary(spec.Rotary), gate: router.NewGate(spec.Gate, spec.Experts),
	}
	m.size(cfg.MaxRows, cfg.MaxLogits)
	return m, nil
}

func newRotary(r model.Rotary) kernels.Rotary {
	if r.Yarn == nil {
		return kernels.NewRotary(r.Theta, r.Dims)
	}
	return kernels.NewYarn(r.Theta, r.Dims, kernels.Yarn{
		Factor: r.Yarn.Factor, BetaFast: r.Yarn.BetaFast, BetaSlow: r.Yarn.BetaSlow,
		Original: r.Yarn.Original, Truncate: r.Yarn.Truncate, Magnitude: r.Yarn.Magnitude,
	})
}

// Step runs one batch of 1 to MaxRows rows, in up to MicroBatches parts, and
// returns the logits [rows that ask, vocab] of the rows that ask for them, in
// order. The number of parts changes no bit. The result is valid until the next
// step. A step that fails may be run again.
func (m *Model) Step(ctx context.Context, rows []Row, parts int) ([]float32, error) {
	batches := m.divide(rows, parts)
	for i := range batches {
		m.embed(&batches[i])
	}
	m.over(PhaseEmbed)
	for l := range m.w.layers {
		for i := range batches {
			b := &batches[i]
			if err := m.finish(ctx, b); err != nil {
				return nil, err // it names the layer
			}
			m.layer(b, l)
		}
	}
	for i := range batches {
		if err := m.finish(ctx, &batches[i]); err != nil {
			return nil, err
		}
	}
	logits := m.logits(batches)
	m.over(PhaseHead)
	return logits, nil
}

// layer runs layer l for a batch; finish adds what its last part came to.
//
//	x += Wo · attention(RMS(x))
//	x += MLP(RMS(x)) or x += Σ weight·expert(RMS(x)) + shared(RMS(x))
func (m *Model) layer(b *batch, l int) {
	w := &m.w.layers[l]
	m.norm(b.h, b.x, w.inputNorm, m.spec.NormEps)
	if m.spec.Attention.Latent != nil {
		m.attendLatent(b, l, w)
	} else {
		m.attend(b, l, w)
	}
	kernels.Add(b.x, b.y)

	m.norm(b.h, b.x, w.postNorm, m.spec.NormEps)
	b.layer = l
	m.over(PhaseAttention)
	if m.spec.Layers[l].MoE == nil {
		m.mlp(b, b.y, w.mlp)
		m.over(PhaseMLP)
		return
	}
	m.pool.MatMul(b.scores, b.h, len(b.rows), w.gate)
	m.gate.Choose(b.scores, w.correction, &b.choice)
	if m.TraceChoice != nil {
		m.TraceChoice(l, b.choice)
	}
	m.over(PhaseGate)
	m.experts.Send(b.micro, l, b.h, b.choice)
	m.over(PhaseSend)
	if w.mlp != nil {
		m.mlp(b, b.shared, w.mlp) // while the routed experts are away
		m.over(PhaseMLP)
	}
}

// finish adds the output of the MLP or of the experts of the batch's last
// layer, if it has been through one.
func (m *Model) finish(ctx context.Context, b *batch) error {
	if b.layer < 0 {
		return nil
	}
	if m.spec.Layers[b.layer].MoE != nil {
		if err := m.experts.Receive(ctx, b.micro, b.y); err != nil {
			return fmt.Errorf("run experts of layer %d: %w", b.layer, err)
		}
		if m.w.layers[b.layer].mlp != nil {
			kernels.Add(b.y, b.shared)
		}
		m.over(PhaseReceive)
	}
	kernels.Add(b.x, b.y)
	m.trace(b.layer, b.x)
	return nil
}

func (m *Model) embed(b *batch) {
	hidden, half := m.spec.Hidden, m.spec.Rotary.Dims/2
	for i, r := range b.rows {
		kernels.DecodeRow(b.x[i*hidden:(i+1)*hidden], m.w.embed, int(r.Token))
		m.rotary.Table(r.Pos, b.cos[i*half:(i+1)*half], b.sin[i*half:(i+1)*half])
	}
	m.trace(-1, b.x)
}

// mlp sets y to Down(act(Gate h, Up h)).
func (m *Model) mlp(b *batch, y []float32, w *shard.Expert) {
	n, width := len(b.rows), w.Gate.Rows
	gate, up := b.gate[:n*width], b.up[:n*width]
	m.pool.MatMulAll(b.h, n, kernels.Product{Dst: gate, W: w.Gate}, kernels.Product{Dst: up, W: w.Up})
	act := &m.memory.activations
	act.activation, act.gate, act.up, act.width = m.spec.Activation, gate, up, width
	m.pool.Run(n, act)
	m.pool.MatMul(y, gate, n, w.Down)
}

// logits returns W_head · RMS(x) for the rows that ask.
func (m *Model) logits(batches []batch) []float32 {
	s, hidden, n := &m.memory, m.spec.Hidden, 0
	for i := range batches {
		b := &batches[i]
		for j, r := range b.rows {
			if r.Logits {
				copy(s.h[n*hidden:(n+1)*hidden], b.x[j*hidden:(j+1)*hidden])
				n++
			}
		}
	}
	h := s.h[:n*hidden]
	m.norm(h, h, m.w.finalNorm, m.spec.NormEps)
	out := s.logits[:n*m.spec.Vocab]
	m.pool.MatMul(out, h, n, m.w.head)
	return out
}

func (m *Model) trace(layer int, x []float32) {
	if m.Trace != nil {
		m.Trace(layer, x)
	}
}
