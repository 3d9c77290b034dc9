package model

import "github.com/conclave-serve/conclave/internal/safetensors"

// Sizes are the bytes of the weights that are used, with their scales: of everything but the routed
// experts, of all routed experts, and of the largest one.
type Sizes struct{ Attention, Experts, Expert int64 }

// Sizes measures the weights in a checkpoint with which the spec has passed Check. Without one,
// nil, it computes what the family's releases need.
func (s *Spec) Sizes(ck *safetensors.Checkpoint) Sizes {
	measure := func(t Tensor) int64 { return t.Bytes(ck) }
	if ck == nil {
		measure = s.releasedBytes
	}
	var sizes Sizes
	for _, t := range s.AttentionTensors() {
		sizes.Attention += measure(t)
	}
	for _, l := range s.Layers {
		if l.MoE == nil {
			continue
		}
		if ck == nil && l.MoE.Correction.Exists() { // released in F32, whatever the other weights are
			sizes.Attention += l.MoE.Correction.Elements()*4 - measure(l.MoE.Correction)
		}
		for _, e := range l.MoE.Experts {
			size := e.bytes(measure)
			sizes.Experts += size
			sizes.Expert = max(sizes.Expert, size)
		}
	}
	return sizes
}

// releasedBytes is the size of a weight and its scales in the format of the family's releases.
func (s *Spec) releasedBytes(t Tensor) int64 {
	switch n := t.Elements(); {
	case t.Scales != "" && s.Quant.Method == QuantMXFP4:
		return n/2 + n/mxGroup
	case t.Scales != "" && s.Attention.Latent != nil: // scales in F32
		return n + 4*int64(blocks(t.Shape[0])*blocks(t.Shape[1]))
	case t.Scales != "": // in BF16
		return n + 2*int64(blocks(t.Shape[0])*blocks(t.Shape[1]))
	case s.DType == string(safetensors.F32):
		return 4 * n
	default:
		return 2 * n
	}
}

func (m MLP) bytes(measure func(Tensor) int64) (size int64) {
	for _, t := range m.Tensors() {
		size += measure(t)
	}
	return size
}

// ExpertBytes is the stored size of the largest expert of a layer, 0 for a dense layer. The spec
// has passed Check with this checkpoint.
func (s *Spec) ExpertBytes(ck *safetensors.Checkpoint, layer int) int64 {
	moe := s.Layers[layer].MoE
	if moe == nil {
		return 0
	}
	var largest int64
	for _, e := range moe.Experts {
		largest = max(largest, e.bytes(func(t Tensor) int64 { return t.Bytes(ck) }))
	}
	return largest
}
