package shard

import (
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// Quant is what weights are converted to as they are loaded. All processes of a cluster that hold
// weights of one kind must use the same: bits of an answer depend on it.
type Quant uint8

// The quantisations.
const (
	QuantNone Quant = iota // weights stay in the checkpoint's format, in its mapped files
	QuantInt8              // kernels.Q8
	QuantInt4              // kernels.Q4
)

var quantNames = [...]string{"none", "int8", "int4"}

// String returns the name of the quantisation, as ParseQuant reads it.
func (q Quant) String() string { return quantNames[q] }

// ParseQuant reads the name of a quantisation.
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
	if q != QuantNone {
		bytes = q.weightBytes(l.Weight)
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
		if q == QuantNone || layer.MoE == nil {
			continue
		}
		for _, e := range layer.MoE.Experts {
			sum += q.weightBytes(e.Gate.Weight) + q.weightBytes(e.Up.Weight) + q.weightBytes(e.Down.Weight)
		}
	}
	return sum
}

func (q Quant) weightBytes(t model.Tensor) int64 {
	return int64(t.Shape[0]) * int64(q.format().Bytes(t.Shape[1]))
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

// format is that of quantised weights.
func (q Quant) format() kernels.Format {
	if q == QuantInt8 {
		return kernels.Q8
	}
	return kernels.Q4
}

// Quantize replaces matrices by quantised ones, on all cores. These share memory outside the Go
// heap, which is given back when nothing refers to any of them.
func (q Quant) Quantize(matrices ...*kernels.Matrix) error {
	if q == QuantNone {
		return nil
	}
	format, size := q.format(), 0
	for _, m := range matrices {
		size += m.Rows * format.Bytes(m.Cols)
	}
	owner, err := newMemory(size)
	if err != nil {
		return fmt.Errorf("quantise weights: %w", err)
	}
	rest := owner.data
	for _, m := range matrices {
		n := m.Rows * format.Bytes(m.Cols)
		to := kernels.Matrix{
			Format: format, Rows: m.Rows, Cols: m.Cols, Data: rest[:n:n], Bias: m.Bias, Owner: owner,
		}
		rest = rest[n:]
		quantizeRows(to, *m)
		*m = to
	}
	return nil
}

// quantizeRows is kernels.Quantize on all cores: rows are independent.
func quantizeRows(to, from kernels.Matrix) {
	const least = 16 // rows that are worth a goroutine
	parts := max(1, min(runtime.GOMAXPROCS(0), from.Rows/least))
	var done sync.WaitGroup
	for i := range parts {
		done.Go(func() {
			lo, hi := i*from.Rows/parts, (i+1)*from.Rows/parts
			kernels.Quantize(to, from, lo, hi, make([]float32, from.Cols))
		})
	}
	done.Wait()
}
