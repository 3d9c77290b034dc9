package shard

import (
	"encoding/json"
	"fmt"
	"slices"
)

// WorkerID names a worker across restarts.
type WorkerID string

// Plan says which workers should hold which experts. It is immutable.
type Plan struct {
	// Epoch grows by one with every plan of a cluster.
	Epoch uint64 `json:"epoch"`
	// Model is the fingerprint of the checkpoint that the plan is for.
	Model string `json:"model"`
	// Workers are the workers of the plan, sorted.
	Workers []WorkerID `json:"workers"`
	// Layers has one entry per layer of the model: for each worker, in the
	// order of Workers, the experts that it should hold. Dense layers have a
	// nil entry.
	Layers [][]Set `json:"layers"`
}

// DecodePlan reads a plan and holds it to its own shape.
func DecodePlan(data []byte) (*Plan, error) {
	var p Plan
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("decode plan: %w", err)
	}
	if !slices.IsSorted(p.Workers) || len(slices.Compact(slices.Clone(p.Workers))) != len(p.Workers) {
		return nil, fmt.Errorf("decode plan of epoch %d: workers are not sorted and distinct", p.Epoch)
	}
	for l, sets := range p.Layers {
		if sets != nil && len(sets) != len(p.Workers) {
			return nil, fmt.Errorf("decode plan of epoch %d: layer %d has %d entries for %d workers",
				p.Epoch, l, len(sets), len(p.Workers))
		}
	}
	return &p, nil
}

// Encode writes the plan as DecodePlan reads it.
func (p *Plan) Encode() ([]byte, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode plan of epoch %d: %w", p.Epoch, err)
	}
	return data, nil
}

// Assigned returns, for each layer, the experts that worker w should hold;
// nil if the plan does not know the worker.
func (p *Plan) Assigned(w WorkerID) []Set {
	i, ok := slices.BinarySearch(p.Workers, w)
	if !ok {
		return nil
	}
	out := make([]Set, len(p.Layers))
	for l, sets := range p.Layers {
		if sets != nil {
			out[l] = sets[i]
		}
	}
	return out
}
