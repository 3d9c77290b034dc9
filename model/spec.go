package model

// Spec is what a checkpoint is. All tensor shapes are those of the weights as the arithmetic sees
// them, [out, in] for matrices, whatever their stored format.
type Spec struct {
	// Family is the model_type of config.json, such as "qwen3_moe" or "deepseek_v3".
	Family string

	Hidden, Vocab, MaxPositions int
	NormEps                     float32

	// DType is the weight format that config.json declares ("BF16", "F16", "F32"), "" if it declares
	// none. What counts is the format of each stored tensor.
	DType string
	Quant Quant

	Attention Attention
	Rotary    Rotary

	// Experts is the number of routed experts of each MoE layer, TopK of them run for a token, and
	// ExpertWidth is the width of one. All are 0 where no layer has experts.
	Experts, TopK, ExpertWidth int
	Gate                       Gate
	Activation                 Activation

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

	// MTPLayers is the number of multi-token-prediction layers that the files hold behind Layers.
	// They are recognised and not used.
	MTPLayers int
}

// Quant is how the quantised weights of a checkpoint are stored. Which ones are says the format of
// each stored tensor.
type Quant struct {
	Method QuantMethod
	// PowerOfTwoScales: every scale of QuantFP8 is said to be a power of two (scale_fmt "ue8m0").
	// Nothing relies on it.
	PowerOfTwoScales bool
}

// QuantMethod is the quant_method of config.json.
type QuantMethod string

// The quantisations that can be read.
const (
	QuantNone QuantMethod = ""
	// QuantFP8: E4M3 values, one scale for each block of 128×128.
	QuantFP8 QuantMethod = "fp8"
	// QuantMXFP4: E2M1 values in routed experts, one E8M0 exponent for 32 values of a row.
	QuantMXFP4 QuantMethod = "mxfp4"
)

// Attention is the shape that all layers share: grouped-query attention, where query head q reads
// key/value head q / (Heads/KVHeads), or multi-head latent attention if Latent is set.
type Attention struct {
	Heads, KVHeads int
	// HeadDim is the width of a query and of a key head, ValueDim that of a value head.
	HeadDim, ValueDim int

	// Scale multiplies the scores before the softmax.
	Scale float32

	// QKNorm: every query and key head goes through an RMS norm before the rotary embedding.
	QKNorm bool

	Latent *Latent
}

// Latent is multi-head latent attention (DeepSeek-V2, 2024): keys and values of all heads come from
// one latent vector of a position, which is what is cached, beside one rotated key for all heads.
// A query head is Nope values that are not rotated and then Rotary.Dims values that are; KVHeads is
// Heads.
type Latent struct {
	// QRank is the rank of the query projection, 0 for a direct one. KVRank is the width of the
	// latent vector.
	QRank, KVRank int
	Nope          int
	// NormEps is that of the norms of the latent vectors.
	NormEps float32
}

// Rotary is the rotary embedding of Dims values of a query or key: the first ones of a head, or the
// last ones in latent attention. Pair i turns by position * Theta^(-2i/Dims), with Yarn by what
// that makes of it.
type Rotary struct {
	Dims  int
	Theta float64
	// Interleaved pairs values 2i and 2i+1; otherwise i and i+Dims/2 are a pair.
	Interleaved bool
	Yarn        *Yarn
}

// Yarn extends a rotary embedding beyond the context that a model was trained on. Peng et al.,
// "YaRN", 2023.
type Yarn struct {
	Factor, BetaFast, BetaSlow float64
	// Original is the number of positions of the original training.
	Original int
	// Truncate rounds the bounds of the ramp between the frequencies to whole numbers.
	Truncate bool
	// Magnitude multiplies cosines and sines.
	Magnitude float64
}

// Gate is how a MoE layer chooses experts from the gate's logits, and weighs them.
type Gate struct {
	Score Score
	// Groups is the number of equal groups of consecutive experts, of which the best KeepGroups can
	// be chosen from; 1 for no such step.
	Groups, KeepGroups int
	GroupScore         GroupScore
	// Renormalize: the weights of the chosen experts are divided by their sum.
	Renormalize bool
	// Scale multiplies the weights at the end.
	Scale float32
}

// Score is how a gate turns logits into scores.
type Score uint8

// The scores of the known gates.
const (
	// SoftmaxScore is the softmax over all experts.
	SoftmaxScore Score = iota
	// SigmoidScore is the sigmoid of each logit.
	SigmoidScore
	// ChosenSoftmax chooses by the logits themselves; the weights are the softmax over the chosen.
	ChosenSoftmax
)

// GroupScore is what a group of experts is judged by.
type GroupScore uint8

// The judgements of groups.
const (
	// GroupMax is the largest score of the group.
	GroupMax GroupScore = iota
	// GroupTopTwo is the sum of its two largest.
	GroupTopTwo
)

// Activation is the non-linearity between Gate and Up of an MLP: silu(g)·u, or, with a Limit,
//
//	g = min(g, Limit), u = min(max(u, -Limit), Limit): g·sigmoid(Alpha·g)·(u+1)
type Activation struct{ Limit, Alpha float32 }

// Sampling is what generation_config.json recommends; nil where it says nothing.
type Sampling struct {
	Temperature, TopP, MinP, RepetitionPenalty *float64
	TopK                                       *int
}

// Tensor is a weight of the model, [out, in] or [n]. Shape is read-only, and may be shared between
// tensors.
type Tensor struct {
	Name  string
	Shape []int
	// Scales names the tensor with the scales of this one, if it is stored quantised.
	Scales string
	// Part says which part of the stored tensor the weight is; nil for the whole.
	Part *Part
}

// Part is a slice of a stored tensor with one more dimension at the front: of its element Index of
// Of, the rows First, First+Step, … of Rows.
type Part struct{ Index, Of, First, Step, Rows int }

// Exists tells a weight from the zero value, which stands for one that the model has not.
func (t Tensor) Exists() bool { return t.Name != "" }

// Elements is the number of values.
func (t Tensor) Elements() int64 {
	if !t.Exists() {
		return 0
	}
	n := int64(1)
	for _, size := range t.Shape {
		n *= int64(size)
	}
	return n
}

// Linear is y = Weight·x + Bias; most models have no Bias.
type Linear struct{ Weight, Bias Tensor }

// Layer is one decoder layer. Exactly one of Dense and MoE is set. With Attention.Latent, QA,
// QANorm and QB (or Q alone, if QRank is 0), KVA, KVANorm and KVB are set in place of Q, K and V.
type Layer struct {
	InputNorm, PostNorm Tensor // [Hidden]

	// Window is the number of latest keys, its own included, that a query sees; 0 for all.
	Window int

	Q            Linear // [Heads*HeadDim, Hidden]
	K, V         Linear // [KVHeads*HeadDim, Hidden]
	O            Linear // [Hidden, Heads*ValueDim]
	QNorm, KNorm Tensor // [HeadDim]; none without QKNorm
	Sinks        Tensor // [Heads], the logit of a key without a value; none in most models

	QA, QB  Linear // [QRank, Hidden], [Heads*HeadDim, QRank]
	QANorm  Tensor // [QRank]
	KVA     Linear // [KVRank+Rotary.Dims, Hidden]: the latent vector and the rotated key
	KVANorm Tensor // [KVRank]
	KVB     Linear // [Heads*(Nope+ValueDim), KVRank]: of each head, keys and then values

	Dense *MLP
	MoE   *MoE
}

// MLP is Down(act(Gate x, Up x)) of some width: Gate and Up are [width, Hidden], Down is
// [Hidden, width].
type MLP struct{ Gate, Up, Down Linear }

// MoE is a layer's gate [Experts, Hidden], its routed experts, and the shared expert, which runs
// for every token, if there is one.
type MoE struct {
	Gate Linear
	// Correction [Experts] is added to the scores for the choice, and only for that.
	Correction Tensor
	Experts    []MLP
	Shared     *MLP
}

// Tensors lists the weights and biases that exist.
func (m MLP) Tensors() []Tensor { return existing(m.Gate, m.Up, m.Down) }

// elements is the number of parameters.
func (m MLP) elements() (n int64) {
	for _, t := range m.Tensors() {
		n += t.Elements()
	}
	return n
}

// existing lists the weights and biases that exist.
func existing(linears ...Linear) []Tensor {
	var list []Tensor
	for _, l := range linears {
		for _, t := range []Tensor{l.Weight, l.Bias} {
			if t.Exists() {
				list = append(list, t)
			}
		}
	}
	return list
}

// attentionTensors lists what a layer has beside its routed experts.
func (l *Layer) attentionTensors() []Tensor {
	list := []Tensor{l.InputNorm}
	list = append(list, existing(l.Q, l.K, l.V, l.QA, l.QB, l.KVA, l.KVB, l.O)...)
	for _, t := range []Tensor{l.QNorm, l.KNorm, l.QANorm, l.KVANorm, l.Sinks, l.PostNorm} {
		if t.Exists() {
			list = append(list, t)
		}
	}
	if l.Dense != nil {
		return append(list, l.Dense.Tensors()...)
	}
	list = append(list, existing(l.MoE.Gate)...)
	if l.MoE.Correction.Exists() {
		list = append(list, l.MoE.Correction)
	}
	if l.MoE.Shared != nil {
		list = append(list, l.MoE.Shared.Tensors()...)
	}
	return list
}

// AttentionTensors lists everything but the routed experts: what a coordinator holds. A tied head
// is listed once, as Embed.
func (s *Spec) AttentionTensors() []Tensor {
	list := []Tensor{s.Embed}
	for i := range s.Layers {
		list = append(list, s.Layers[i].attentionTensors()...)
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

// KVWidths are the numbers that the cache keeps for a position in one layer: those of its keys and
// those of its values, which in latent attention are part of the keys.
func (s *Spec) KVWidths() (keys, values int) {
	a := s.Attention
	if a.Latent != nil {
		return a.Latent.KVRank + s.Rotary.Dims, 0
	}
	return a.KVHeads * a.HeadDim, a.KVHeads * a.ValueDim
}

// KVBytes is what the cache of one sequence needs: for each position, and, in the layers that see a
// window only, once for the whole sequence.
func (s *Spec) KVBytes(bytesPerValue int) (perToken, fixed int64) {
	keys, values := s.KVWidths()
	one := int64(keys+values) * int64(bytesPerValue)
	for _, l := range s.Layers {
		if l.Window > 0 {
			fixed += one * int64(l.Window)
		} else {
			perToken += one
		}
	}
	return perToken, fixed
}
