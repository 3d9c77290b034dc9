package model

import "fmt"

// readQwen3 reads a dense Qwen3 model (transformers: models/qwen3).
func readQwen3(c *object) *Spec {
	s := readQwen3Common(c)
	width := c.integer("intermediate_size", 1, maxWidth)
	for i := range s.Layers {
		s.Layers[i].Dense = qwen3MLP(fmt.Sprintf("model.layers.%d.mlp.", i), s.Hidden, width)
	}
	return s
}

// readQwen3Common reads all but the feed-forward blocks, which dense and MoE models share.
func readQwen3Common(c *object) *Spec {
	s := readCommon(c)
	s.Attention.QKNorm = true
	s.Embed = Tensor{"model.embed_tokens.weight", []int{s.Vocab, s.Hidden}}
	s.FinalNorm = Tensor{"model.norm.weight", []int{s.Hidden}}
	s.Head = Tensor{"lm_head.weight", s.Embed.Shape}
	if s.TiedEmbedding {
		s.Head = s.Embed
	}
	for i := range s.Layers {
		s.Layers[i] = qwen3Layer(fmt.Sprintf("model.layers.%d.", i), s)
	}
	return s
}

// qwen3Layer names the norms and the attention of a layer.
func qwen3Layer(prefix string, s *Spec) Layer {
	a := s.Attention
	norm, headNorm := []int{s.Hidden}, []int{a.HeadDim}
	q, kv := a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
	return Layer{
		InputNorm: Tensor{prefix + "input_layernorm.weight", norm},
		PostNorm:  Tensor{prefix + "post_attention_layernorm.weight", norm},
		Q:         Tensor{prefix + "self_attn.q_proj.weight", []int{q, s.Hidden}},
		K:         Tensor{prefix + "self_attn.k_proj.weight", []int{kv, s.Hidden}},
		V:         Tensor{prefix + "self_attn.v_proj.weight", []int{kv, s.Hidden}},
		O:         Tensor{prefix + "self_attn.o_proj.weight", []int{s.Hidden, q}},
		QNorm:     Tensor{prefix + "self_attn.q_norm.weight", headNorm},
		KNorm:     Tensor{prefix + "self_attn.k_norm.weight", headNorm},
	}
}

// qwen3MLP names the matrices of a feed-forward block or of an expert.
func qwen3MLP(prefix string, hidden, width int) *MLP {
	in, out := []int{width, hidden}, []int{hidden, width}
	return &MLP{
		Gate: Tensor{prefix + "gate_proj.weight", in},
		Up:   Tensor{prefix + "up_proj.weight", in},
		Down: Tensor{prefix + "down_proj.weight", out},
	}
}
