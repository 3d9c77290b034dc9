package shard

import (
	"fmt"
	"slices"
	"strings"
)

// Layer is what the planner needs to know of one layer of a model.
type Layer struct {
	// Experts is the number of routed experts; 0 for a dense layer.
	Experts int
	// ExpertBytes is the size of one expert's weights.
	ExpertBytes int64
}

// Capacity is what the planner needs to know of one worker.
type Capacity struct {
	ID WorkerID
	// Bytes of experts that the worker takes; 0 means no limit.
	Bytes int64
}

// NoRoomError says that the workers together cannot hold the experts.
type NoRoomError struct{ Need, Have int64 }

// Error implements error.
func (e *NoRoomError) Error() string {
	return fmt.Sprintf("the experts take %d bytes, the workers offer %d: add workers or raise their capacity",
		e.Need, e.Have)
}

// Next plans one copy of every expert over the given workers, as evenly as
// their capacities allow, and moves no expert of prev (which may be nil) that
// does not have to move. It returns prev itself if prev is already such a plan.
func Next(prev *Plan, model string, layers []Layer, workers []Capacity) (*Plan, error) {
	workers = slices.Clone(workers)
	slices.SortFunc(workers, func(a, b Capacity) int { return strings.Compare(string(a.ID), string(b.ID)) })
	shares, err := fairShares(layers, workers)
	if err != nil {
		return nil, err
	}
	next := &Plan{Epoch: 1, Model: model, Layers: make([][]Set, len(layers))}
	for _, w := range workers {
		next.Workers = append(next.Workers, w.ID)
	}
	if prev != nil && prev.Model != model {
		prev = &Plan{Epoch: prev.Epoch}
	}
	debt := make([]float64, len(workers))
	for l, layer := range layers {
		if layer.Experts > 0 {
			quotas := layerQuotas(layer.Experts, shares, debt)
			next.Layers[l] = assignLayer(previousOwners(prev, l, layer.Experts, next.Workers), quotas)
		}
	}
	if prev != nil {
		if samePlacement(prev, next) {
			return prev, nil
		}
		next.Epoch = prev.Epoch + 1
	}
	return next, nil
}

// fairShares returns the fraction of all expert bytes for each worker: equal
// shares, where a worker that cannot take its share is filled and the rest is
// divided among the others.
func fairShares(layers []Layer, workers []Capacity) ([]float64, error) {
	var need int64
	for _, l := range layers {
		need += int64(l.Experts) * l.ExpertBytes
	}
	shares := make([]float64, len(workers))
	if need == 0 {
		return shares, nil
	}
	open := make([]int, 0, len(workers))
	var have int64
	for i, w := range workers {
		open = append(open, i)
		if w.Bytes == 0 || w.Bytes > need {
			have += need
		} else {
			have += w.Bytes
		}
	}
	if have < need {
		return nil, &NoRoomError{Need: need, Have: have}
	}
	left := 1.0
	for len(open) > 0 {
		equal := left / float64(len(open))
		full := slices.IndexFunc(open, func(i int) bool {
			return workers[i].Bytes != 0 && float64(workers[i].Bytes) < equal*float64(need)
		})
		if full < 0 {
			for _, i := range open {
				shares[i] = equal
			}
			break
		}
		i := open[full]
		shares[i] = float64(workers[i].Bytes) / float64(need)
		left -= shares[i]
		open = slices.Delete(open, full, full+1)
	}
	return shares, nil
}

// layerQuotas divides a layer's experts by shares, in whole experts. What
// rounding costs a worker in one layer, debt gives back in the next.
func layerQuotas(experts int, shares, debt []float64) []int {
	quotas := make([]int, len(shares))
	left := experts
	for i, s := range shares {
		debt[i] += s * float64(experts)
		quotas[i] = min(max(int(debt[i]+1e-9), 0), left)
		left -= quotas[i]
	}
	for ; left > 0; left-- {
		most := 0
		for i := range debt {
			if debt[i]-float64(quotas[i]) > debt[most]-float64(quotas[most])+1e-9 {
				most = i
			}
		}
		quotas[most]++
	}
	for i := range debt {
		debt[i] -= float64(quotas[i])
	}
	return quotas
}

// previousOwners returns, for each expert, the index among workers of the
// worker that holds it under prev, or -1.
func previousOwners(prev *Plan, layer, experts int, workers []WorkerID) []int {
	owners := make([]int, experts)
	for e := range owners {
		owners[e] = -1
	}
	if prev == nil || layer >= len(prev.Layers) || prev.Layers[layer] == nil {
		return owners
	}
	for i, id := range prev.Workers {
		now, ok := slices.BinarySearch(workers, id)
		if !ok {
			continue
		}
		for _, e := range prev.Layers[layer][i].Experts() {
			if e < experts && owners[e] < 0 {
				owners[e] = now
			}
		}
	}
	return owners
}

// assignLayer gives every expert to a worker within the quotas: to its owner
// while that has room, else to the first worker that has. Newcomers take
// contiguous runs, which keeps plans short to write and to read.
func assignLayer(owners, quotas []int) []Set {
	sets := make([]Set, len(quotas))
	room := slices.Clone(quotas)
	var homeless []int
	for e, w := range owners {
		if w < 0 || room[w] == 0 {
			homeless = append(homeless, e)
			continue
		}
		sets[w].Add(e)
		room[w]--
	}
	w := 0
	for _, e := range homeless {
		for room[w] == 0 {
			w++
		}
		sets[w].Add(e)
		room[w]--
	}
	return sets
}

func samePlacement(a, b *Plan) bool {
	return a.Model == b.Model && slices.Equal(a.Workers, b.Workers) &&
		slices.EqualFunc(a.Layers, b.Layers, func(x, y []Set) bool {
			return slices.EqualFunc(x, y, func(s, t Set) bool { return s.String() == t.String() })
		})
}
