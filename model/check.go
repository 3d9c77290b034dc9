package model

import (
	"errors"
	"fmt"
	"slices"

	"github.com/conclave-serve/conclave/internal/safetensors"
)

// maxProblems bounds what one error lists: a wrong config makes every tensor wrong.
const maxProblems = 10

// Check verifies that the checkpoint holds every tensor of the spec with its shape and in a format
// that can be computed with. It lists up to ten problems in one error.
func (s *Spec) Check(ck *safetensors.Checkpoint) error {
	var problems []error
	wrong := 0
	check := func(tensors ...Tensor) {
		for _, want := range tensors {
			err := checkTensor(ck, want)
			if err == nil {
				continue
			}
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
			check(e.Gate, e.Up, e.Down)
		}
	}
	if wrong > maxProblems {
		problems = append(problems, fmt.Errorf("and %d more problems", wrong-maxProblems))
	}
	return errors.Join(problems...)
}

func checkTensor(ck *safetensors.Checkpoint, want Tensor) error {
	got, ok := ck.Tensor(want.Name)
	if !ok {
		return fmt.Errorf("checkpoint: tensor %s is missing, config.json implies shape %v",
			want.Name, want.Shape)
	}
	if !slices.Equal(got.Shape, want.Shape) {
		return fmt.Errorf("%s: tensor %s has shape %v, config.json implies %v",
			got.File, want.Name, got.Shape, want.Shape)
	}
	switch got.DType {
	case safetensors.F32, safetensors.BF16, safetensors.F16:
		return nil
	}
	return fmt.Errorf("%s: tensor %s is stored as %s, which is not supported (F32, BF16, F16 are)",
		got.File, want.Name, got.DType)
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
		var size int64
		for _, want := range e.tensors() {
			t, _ := ck.Tensor(want.Name)
			size += int64(len(t.Data))
		}
		largest = max(largest, size)
	}
	return largest
}
