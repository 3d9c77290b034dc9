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
	// Basis is set on a plan that follows measured load (Demand) and not even
	// shares. It tells the workers that it was made for: while they are the same,
	// only load is a reason for another plan.
	Basis string `json:"basis,omitempty"`
}

// MaxEpoch is the greatest epoch that a plan may have: one greater could not be followed by
// another for ever. A plan a millisecond takes 285,000 years to reach it.
const MaxEpoch = 1 << 53

// Bounds of a plan that is read. A set is as large as its greatest index, however short its
// text, so sets have a bound of their own: 64 layers of 512 experts on 1,000 workers take half
// of it.
const (
	maxPlanLayers  = 1 << 12
	maxPlanIndices = 1 << 26
)

// DecodePlan reads a plan and holds it to its own shape. Whatever data says, no more memory is
// taken than a small multiple of its size and the bound of a plan's sets (8 MiB).
func DecodePlan(data []byte) (*Plan, error) {
	var raw struct {
		Plan
		Layers [][]string `json:"layers"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("decode plan: %w", err)
	}
	p := &raw.Plan
	if p.Epoch > MaxEpoch {
		return nil, fmt.Errorf("decode plan: epoch %d, allowed are up to %d", p.Epoch, int64(MaxEpoch))
	}
	if !slices.IsSorted(p.Workers) || len(slices.Compact(slices.Clone(p.Workers))) != len(p.Workers) {
		return nil, fmt.Errorf("decode plan of epoch %d: workers are not sorted and distinct", p.Epoch)
	}
	if len(raw.Layers) > maxPlanLayers {
		return nil, fmt.Errorf("decode plan of epoch %d: %d layers, allowed are %d",
			p.Epoch, len(raw.Layers), maxPlanLayers)
	}
	if raw.Layers != nil {
		p.Layers = make([][]Set, len(raw.Layers))
	}
	indices := 0
	for l, texts := range raw.Layers {
		if texts == nil {
			continue
		}
		if len(texts) != len(p.Workers) {
			return nil, fmt.Errorf("decode plan of epoch %d: layer %d has %d entries for %d workers",
				p.Epoch, l, len(texts), len(p.Workers))
		}
		p.Layers[l] = make([]Set, len(texts))
		for i, text := range texts {
			set, err := ParseSet(text, MaxExperts)
			if err != nil {
				return nil, fmt.Errorf("decode plan of epoch %d: layer %d: %w", p.Epoch, l, err)
			}
			if indices += 64 * len(set.words); indices > maxPlanIndices {
				return nil, fmt.Errorf("decode plan of epoch %d: its sets span more than %d experts",
					p.Epoch, maxPlanIndices)
			}
			p.Layers[l][i] = set
		}
	}
	return p, nil
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
