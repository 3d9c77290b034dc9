package model

import (
	"errors"
	"fmt"

	"github.com/conclave-serve/conclave/internal/safetensors"
)

// maxProblems bounds what one error lists: a wrong config makes every tensor wrong.
const maxProblems = 10

// Check verifies that the checkpoint holds every tensor of the spec with its shape and in a format
// that can be computed with. It lists up to ten problems in one error.
func (s *Spec) Check(ck *safetensors.Checkpoint) error {
	var problems []error
	wrong, seen := 0, map[string]bool{} // experts may be parts of one tensor
	check := func(tensors ...Tensor) {
		for _, want := range tensors {
			_, err := want.Locate(ck)
			if err == nil || seen[err.Error()] {
				continue
			}
			seen[err.Error()] = true
			if wrong++; wrong <= maxProblems {
				problems = append(problems, err)
			}
		}
	}
	check(s.AttentionTensors()...)
	for _, l := range s.Layers {
		if l.MoE == nil {
			continue
		}
		for _, e := range l.MoE.Experts {
			check(e.Tensors()...)
		}
	}
	if wrong > maxProblems {
		problems = append(problems, fmt.Errorf("and %d more problems", wrong-maxProblems))
	}
	return errors.Join(problems...)
}
