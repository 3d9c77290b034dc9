package bench

import (
	"fmt"

	"github.com/conclave-serve/conclave/model"
)

// Shape is what of a model the kernels' time depends on.
type Shape struct {
	Name string `json:"name"`
	// Hidden and Width are those of a routed expert, or of a dense layer's MLP.
	Hidden int `json:"hidden"`
	Width  int `json:"width"`
	// TopK is how many of the experts run for a token; 1 of a dense layer's MLP.
	TopK int `json:"experts_per_token"`
	// Queries share a key-value head; Keys and Values are the widths of its entries. Latent says
	// that values are the beginning of the keys.
	Queries int  `json:"queries"`
	Keys    int  `json:"keys"`
	Values  int  `json:"values"`
	Latent  bool `json:"latent"`
}

// DefaultShape is that of Qwen3-30B-A3B.
func DefaultShape() Shape {
	return Shape{
		Name: "Qwen3-30B-A3B", Hidden: 2048, Width: 768, TopK: 8, Queries: 8, Keys: 128, Values: 128,
	}
}

// ShapeOf returns the shape of a model.
func ShapeOf(name string, s *model.Spec) (Shape, error) {
	a := s.Attention
	shape := Shape{
		Name: name, Hidden: s.Hidden, Width: s.ExpertWidth, TopK: max(s.TopK, 1),
		Queries: a.Heads / a.KVHeads, Keys: a.HeadDim, Values: a.ValueDim,
	}
	if l := a.Latent; l != nil {
		shape.Queries, shape.Keys, shape.Values = a.Heads, l.KVRank+s.Rotary.Dims, l.KVRank
		shape.Latent = true
	}
	if shape.Width == 0 {
		for i := range s.Layers {
			if d := s.Layers[i].Dense; d != nil {
				shape.Width = max(shape.Width, d.Gate.Weight.Shape[0])
			}
		}
	}
	return shape, shape.check()
}

// maxSide bounds the sides of matrices: no model comes near, and products of three stay in an int.
const maxSide = 1 << 17

func (s *Shape) check() error {
	for _, side := range []int{s.Hidden, s.Width, s.TopK, s.Queries, s.Keys, s.Values} {
		if side < 1 || side > maxSide {
			return fmt.Errorf("%s: %d experts of %d×%d, %d queries of %d and %d: too small, or too large",
				s.Name, s.TopK, s.Width, s.Hidden, s.Queries, s.Keys, s.Values)
		}
	}
	return nil
}
