package model

// Spec is what a checkpoint is. All tensor shapes are those of the stored weights, [out, in] for
// matrices.
type Spec struct {
	// Family is the model_type of config.json: "qwen3" or "qwen3_moe".
	Family string

	Hidden, Vocab, MaxPositions int
	NormEps                     float32

	// DType is the weight format that config.json declares ("BF16", "F16", "F32"), "" if it declares
	// none. What counts is the format of each stored tensor.
	DType string

	Attention GQA
	Rotary    Rotary

	// Experts is the number of routed experts of each MoE layer, TopK of them run for a token, and
	// ExpertWidth is the width of one. All are 0 where no layer has experts.
	Experts, TopK, ExpertWidth int
	Gate                       Gate

	// BOS is the first token of a sequence, -1 for none. EOS are the tokens that end an answer;
	// those of generation_config.json replace those of config.json.
	BOS      int32
	EOS      []int32
	Sampling Sampling

	// Embed and Head are [Vocab, Hidden], FinalNorm is [Hidden]. With TiedEmbedding Head is Embed,
	// whatever else the files store.
	TiedEmbedding          bool
	Embed, FinalNorm, Head Tensor

	Layers []Layer
}

// GQA is grouped-query attention: query head q reads key/value head q / (Heads/KVHeads).
type GQA struct {
	Heads, KVHeads, HeadDim int

	// Scale multiplies the scores before the softmax.
	Scale float32

	// QKNorm: every query and key head goes through an RMS norm before the rotary embedding.
	QKNorm bool
}

// Rotary is the half-split rotary embedding of the first Dims values of a head, with the angle
// position * Theta^(-2i/Dims) for pair i.
type Rotary struct {
	Dims  int
	Theta float64
}

// Gate is the softmax gate over all experts.
type Gate struct {
	// Renormalize: the weights of the chosen experts are divided by their sum.
	Renormalize bool
}

// Sampling is what generation_config.json recommends; nil where it says nothing.
type Sampling struct {
	Temperature, TopP, MinP, RepetitionPenalty *float64
	TopK                                       *int
}

// Tensor is a stored weight. Shape is read-only, and may be shared between tensors.
type Tensor struct {
	Name  string
	Shape []int
}

// Elements is the number of values.
func (t Tensor) Elements() int64 {
	n := int64(1)
	for _, size := range t.Shape {
		n *= int64(size)
	}
	return n
}

// Layer is one decoder layer. Exactly one of Dense and MoE is set.
type Layer struct {
	InputNorm, PostNorm Tensor // [Hidden]
	Q                   Tensor // [Heads*HeadDim, Hidden]
	K, V                Tensor // [KVHeads*HeadDim, Hidden]
	O                   Tensor // [Hidden, Heads*HeadDim]
	QNorm, KNorm        Tensor // [HeadDim]; empty without QKNorm
	Dense               *MLP
	MoE                 *MoE
}

// MLP is Down(silu(Gate x) * Up x) of some width: Gate and Up are [width, Hidden], Down is
// [Hidden, width].
type MLP struct{ Gate, Up, Down Tensor }

// MoE is a layer's gate [Experts, Hidden] and its routed experts.
type MoE struct {
	Gate    Tensor
	Experts []MLP
}

// tensors lists the three matrices.
func (m MLP) tensors() []Tensor { return []Tensor{m.Gate, m.Up, m.Down} }

// elements is the number of parameters.
func (m MLP) elements() int64 {
	return m.Gate.Elements() + m.Up.Elements() + m.Down.Elements()
}

// AttentionTensors lists everything but the routed experts: what a coordinator holds. A tied head
// is listed once, as Embed.
func (s *Spec) AttentionTensors() []Tensor {
	list := []Tensor{s.Embed}
	for _, l := range s.Layers {
		list = append(list, l.InputNorm, l.Q, l.K, l.V, l.O)
		if s.Attention.QKNorm {
			list = append(list, l.QNorm, l.KNorm)
		}
		list = append(list, l.PostNorm)
		if l.Dense != nil {
			list = append(list, l.Dense.tensors()...)
		} else {
			list = append(list, l.MoE.Gate)
		}
	}
	list = append(list, s.FinalNorm)
	if !s.TiedEmbedding {
		list = append(list, s.Head)
	}
	return list
}

// Params counts the parameters, and those that take part in one token, embedding table and head
// included. A tied head counts once.
func (s *Spec) Params() (total, active int64) {
	for _, t := range s.AttentionTensors() {
		total += t.Elements()
	}
	active = total
	for _, l := range s.Layers {
		if l.MoE != nil {
			one := l.MoE.Experts[0].elements()
			total += one * int64(s.Experts)
			active += one * int64(s.TopK)
		}
	}
	return total, active
}

// KVBytesPerToken is the size of one position's keys and values over all layers.
func (s *Spec) KVBytesPerToken(bytesPerValue int) int64 {
	a := s.Attention
	return 2 * int64(len(s.Layers)) * int64(a.KVHeads) * int64(a.HeadDim) * int64(bytesPerValue)
}
