package forward

// Phase is a part of a step.
type Phase uint8

// The phases of a step, in the order in which a layer goes through them.
const (
	// PhaseEmbed is what comes before the layers.
	PhaseEmbed Phase = iota
	// PhaseAttention is attention with its projections, the norms, and the sums between.
	PhaseAttention
	// PhaseGate chooses experts.
	PhaseGate
	// PhaseSend encodes the calls of routed experts and hands them to the network.
	PhaseSend
	// PhaseMLP is a dense layer's MLP, or shared experts.
	PhaseMLP
	// PhaseReceive waits for routed experts and adds up what they say.
	PhaseReceive
	// PhaseHead makes logits.
	PhaseHead
	// Phases is the number of phases.
	Phases = iota
)

// over tells Clock that a phase has ended.
func (m *Model) over(p Phase) {
	if m.Clock != nil {
		m.Clock(p)
	}
}
