package forward

import "github.com/conclave-serve/conclave/model"

// Expanded returns how many positions of a sequence have keys and values that
// were computed in the expanded form of latent attention: all those below the
// result, for which Expands is true. It is 0 for models with one form.
func Expanded(spec *model.Spec, prompt int) int {
	if spec.Attention.Latent == nil {
		return 0
	}
	return prompt / ExpandBlock * ExpandBlock
}
