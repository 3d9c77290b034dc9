package shard

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// Quant is what weights are converted to as they are loaded, and with what activations they are
// multiplied. All processes of a cluster that hold weights of one kind must use the same: bits of
// an answer depend on it.
type Quant uint8

// The quantisations.
const (
	QuantNone Quant = iota // weights stay in the checkpoint's format, in its mapped files
	QuantInt8              // kernels.Q8
	QuantInt4              // kernels.Q4
)

// rounded is added where activations are rounded to int8, as kernels.Rounded are.
const rounded Quant = 1 << 7

var quantNames = [...]string{"none", "int8", "int4"}

// Rounded is the quantisation with activations in int8. Weights that are not quantised are
// multiplied with activations as they are, but for those of MXFP4, which keep their values.
func (q Quant) Rounded() Quant { return q | rounded }

// Exact is the quantisation with activations as they are.
func (q Quant) Exact() Quant { return q &^ rounded }

// For is what the quantisation of experts comes to with a checkpoint: if they are not quantised,
// and not MXFP4, no activations are rounded. The spec has passed Check with the checkpoint.
func (q Quant) For(spec *model.Spec, ck *safetensors.Checkpoint) Quant {
	if q.Exact() != QuantNone {
		return q
	}
	for _, layer := range spec.Layers {
		if layer.MoE != nil && len(layer.MoE.Experts) > 0 && mxfp4(layer.MoE.Experts[0].Gate.Weight, ck) {
			return q
		}
	}
	return QuantNone
}

// Beside is For, of a coordinator whose own weights are held in a quantisation. It refuses
// activations in int8 where nothing is rounded.
func (q Quant) Beside(
	own Quant, spec *model.Spec, ck *safetensors.Checkpoint,
) (Quant, error) {
	experts := q.For(spec, ck)
	none := experts != q || q&rounded != 0 && spec.Experts == 0
	if none && own == QuantNone {
		return q, errors.New("activations in int8 need weights that are quantised as they are loaded, " +
			"or experts in MXFP4: give --experts-quant or --attention-quant, or leave out --activations")
	}
	return experts, nil
}

// mxfp4 says whether a weight is stored in MXFP4.
func mxfp4(t model.Tensor, ck *safetensors.Checkpoint) bool {
	s, err := t.Locate(ck)
	return err == nil && s.DType == safetensors.U8
}

// String returns the name of the quantisation, as ParseQuant reads it if activations are not
// rounded. "int4,activations=int8" says that they are.
func (q Quant) String() string {
	name := quantNames[q&^rounded]
	if q&rounded != 0 {
		name += ",activations=int8"
	}
	return name
}

// ParseQuant reads the name of a quantisation of weights.
func ParseQuant(name string) (Quant, error) {
	for q, known := range quantNames {
		if name == known {
			return Quant(q), nil
		}
	}
	return 0, fmt.Errorf("%q is no quantisation: want %s", name, strings.Join(quantNames[:], ", "))
}

const expertsMark = "+experts="

// Model returns the identity of a checkpoint, by its fingerprint, whose experts are held in this
// quantisation. Coordinators and workers of one cluster agree on it.
func (q Quant) Model(fingerprint string) string {
	if q == QuantNone {
		return fingerprint
	}
	return fingerprint + expertsMark + q.String()
}

// SplitModel is the reverse of Quant.Model; experts is the name of the quantisation.
func SplitModel(model string) (fingerprint, experts string) {
	fingerprint, experts, found := strings.Cut(model, expertsMark)
	if !found {
		experts = QuantNone.String()
	}
	return fingerprint, experts
}

// ExpertBytes is what the largest expert of a layer takes in memory, 0 for a dense layer. The spec
// has passed Check with this checkpoint.
func (q Quant) ExpertBytes(spec *model.Spec, ck *safetensors.Checkpoint, layer int) int64 {
	moe := spec.Layers[layer].MoE
	if q == QuantNone || moe == nil {
		return spec.ExpertBytes(ck, layer)
	}
	var largest int64
	for _, e := range moe.Experts {
		largest = max(largest, q.mlpBytes(e, ck))
	}
	return largest
}

// LinearBytes is what the weight and bias of a linear layer take in memory.
func (q Quant) LinearBytes(l model.Linear, ck *safetensors.Checkpoint) int64 {
	bytes := l.Weight.Bytes(ck)
	switch {
	case q.Exact() != QuantNone:
		bytes = matrixBytes(q.format(kernels.F32), l.Weight)
	case q != QuantNone && mxfp4(l.Weight, ck):
		bytes = matrixBytes(q.format(kernels.MXFP4), l.Weight)
	}
	if l.Bias.Exists() {
		bytes += l.Bias.Bytes(ck)
	}
	return bytes
}

// ExpertsBytes is what the quantised weights of all routed experts take, without their biases; it
// needs no checkpoint. 0 for QuantNone.
func (q Quant) ExpertsBytes(spec *model.Spec) (sum int64) {
	for _, layer := range spec.Layers {
		if q.Exact() == QuantNone || layer.MoE == nil {
			continue
		}
		for _, e := range layer.MoE.Experts {
			for _, l := range []model.Linear{e.Gate, e.Up, e.Down} {
				sum += matrixBytes(q.format(kernels.F32), l.Weight)
			}
		}
	}
	return sum
}

func matrixBytes(f kernels.Format, t model.Tensor) int64 {
	return int64(f.MatrixBytes(t.Shape[0], t.Shape[1]))
}

func (q Quant) mlpBytes(m model.MLP, ck *safetensors.Checkpoint) int64 {
	return q.LinearBytes(m.Gate, ck) + q.LinearBytes(m.Up, ck) + q.LinearBytes(m.Down, ck)
}

// Idle tells the system that the stored form of weights that were quantised is not needed any more.
func (q Quant) Idle(ck *safetensors.Checkpoint, tensors ...model.Tensor) {
	if q == QuantNone {
		return
	}
	if ranges, err := model.Ranges(ck, tensors...); err == nil { // they have been read
		ck.Idle(ranges...)
	}
}

// format is what weights of a format become.
func (q Quant) format(stored kernels.Format) kernels.Format {
	switch q {
	case QuantInt8:
		return kernels.Q8
	case QuantInt4:
		return kernels.Q4
	case QuantInt8 | rounded:
		return kernels.Q8x16
	case QuantInt4 | rounded:
		return kernels.Q4x16
	case QuantNone | rounded:
		if stored == kernels.MXFP4 {
			return kernels.MXFP4x16
		}
	}
	return stored
}

// Quantize replaces matrices by quantised ones, on all cores. These share memory outside the Go
// heap, which is given back when nothing refers to any of them, and lies on nodes, if not nil.
func (q Quant) Quantize(nodes *Nodes, matrices ...*kernels.Matrix) error {
	if q == QuantNone.Rounded() && slices.ContainsFunc(matrices, isNotMXFP4) {
		return nil // of an expert, all are rearranged or none
	}
	size, quantised := 0, make([]kernels.Matrix, 0, len(matrices))
	for _, m := range matrices {
		if f := q.format(m.Format); f != m.Format {
			quantised = append(quantised,
				kernels.Matrix{Format: f, Rows: m.Rows, Cols: m.Cols, Bias: m.Bias})
			size += f.MatrixBytes(m.Rows, m.Cols)
		}
	}
	if size == 0 {
		return nil
	}
	owner, err := newMemory(size)
	if err != nil {
		return fmt.Errorf("quantise weights: %w", err)
	}
	nodes.put(owner, quantised)
	rest := owner.data
	for _, m := range matrices {
		if q.format(m.Format) == m.Format {
			continue
		}
		to := quantised[0]
		n := to.Format.MatrixBytes(m.Rows, m.Cols)
		to.Data, to.Owner = rest[:n:n], owner
		quantised, rest = quantised[1:], rest[n:]
		quantizeRows(to, *m)
		*m = to
	}
	return nil
}

func isNotMXFP4(m *kernels.Matrix) bool { return m.Format != kernels.MXFP4 }

// quantizeRows is kernels.Quantize on all cores: rows are independent.
func quantizeRows(to, from kernels.Matrix) {
	const least = 16 // rows that are worth a goroutine
	parts := max(1, min(runtime.GOMAXPROCS(0), from.Rows/least))
	var done sync.WaitGroup
	for i := range parts {
		done.Go(func() {
			lo, hi := i*from.Rows/parts, (i+1)*from.Rows/parts
			if to.Format == kernels.MXFP4x16 {
				kernels.Interleave(to, from, lo, hi)
				return
			}
			kernels.Quantize(to, from, lo, hi, make([]float32, from.Cols))
		})
	}
	done.Wait()
}
