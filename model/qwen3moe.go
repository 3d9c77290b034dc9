package model

import (
	"fmt"
	"slices"
)

// readQwen3MoE reads a Qwen3 mixture of experts (transformers: models/qwen3_moe). Layer i has
// experts if it is not in mlp_only_layers and i+1 is a multiple of decoder_sparse_step; the others
// are dense. norm_topk_prob is required: its default in transformers is false, while every
// published model says true.
func readQwen3MoE(c *object) *Spec {
	s := readQwen3Common(c)
	sparse := qwen3SparseLayers(c, len(s.Layers))
	if slices.Contains(sparse, false) {
		width := c.integer("intermediate_size", 1, maxWidth)
		for i := range s.Layers {
			if !sparse[i] {
				s.Layers[i].Dense = qwen3MLP(fmt.Sprintf("model.layers.%d.mlp.", i), s.Hidden, width)
			}
		}
	}
	if !slices.Contains(sparse, true) {
		return s
	}
	s.Experts = qwen3Experts(c)
	s.TopK = c.integer("num_experts_per_tok", 1, maxExperts)
	s.ExpertWidth = c.integer("moe_intermediate_size", 1, maxWidth)
	s.Gate.Renormalize = c.boolean("norm_topk_prob")
	if c.err() == nil && s.TopK > s.Experts {
		c.fail("num_experts_per_tok", "is %d, but there are %d experts", s.TopK, s.Experts)
	}
	if s.Experts*len(s.Layers) > maxAllExperts {
		c.fail("num_experts", "%d experts in each of %d layers are more than the limit of %d in all",
			s.Experts, len(s.Layers), maxAllExperts)
	}
	if c.err() != nil {
		return s
	}
	for i := range s.Layers {
		if sparse[i] {
			s.Layers[i].MoE = qwen3MoE(fmt.Sprintf("model.layers.%d.mlp.", i), s)
		}
	}
	return s
}

// qwen3Experts reads the number of routed experts: num_experts before transformers 5,
// num_local_experts since. A file may carry both.
func qwen3Experts(c *object) int {
	if !c.has("num_local_experts") {
		return c.integer("num_experts", 1, maxExperts)
	}
	n := c.integer("num_local_experts", 1, maxExperts)
	if c.has("num_experts") && c.integer("num_experts", 1, maxExperts) != n {
		c.fail("num_experts", "differs from num_local_experts")
	}
	return n
}

// qwen3SparseLayers says which layers have experts.
func qwen3SparseLayers(c *object, layers int) []bool {
	step := 1
	if c.has("decoder_sparse_step") {
		step = c.integer("decoder_sparse_step", 1, maxLayers)
	}
	sparse := make([]bool, layers)
	for i := range sparse {
		sparse[i] = (i+1)%step == 0
	}
	if c.has("mlp_only_layers") {
		for _, i := range c.integers("mlp_only_layers", 0, maxLayers) {
			if i < layers {
				sparse[i] = false
			}
		}
	}
	return sparse
}

// qwen3MoE names the gate and the experts of a layer.
func qwen3MoE(prefix string, s *Spec) *MoE {
	m := &MoE{
		Gate:    Tensor{prefix + "gate.weight", []int{s.Experts, s.Hidden}},
		Experts: make([]MLP, s.Experts),
	}
	for e := range m.Experts {
		m.Experts[e] = *qwen3MLP(fmt.Sprintf("%sexperts.%d.", prefix, e), s.Hidden, s.ExpertWidth)
	}
	return m
}
