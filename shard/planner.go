package shard

import (
	"cmp"
	"fmt"
	"math"
	"slices"
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
	if e.Have >= e.Need {
		return fmt.Sprintf("the experts take %d bytes, the workers offer %d, but not in pieces that "+
			"hold whole experts: add workers or raise their capacity", e.Need, e.Have)
	}
	return fmt.Sprintf("the experts take %d bytes, the workers offer %d: "+
		"add workers or raise their capacity", e.Need, e.Have)
}

// Next plans one copy of every expert over the given workers, as evenly as
// their capacities allow, layer by layer and in all; no worker gets more than
// it can take. An expert stays where it is under prev (which may be nil) if its
// worker's share of the layer has room for it. Next returns prev itself if prev
// is already such a plan.
func Next(prev *Plan, model string, layers []Layer, workers []Capacity) (*Plan, error) {
	workers = slices.Clone(workers)
	slices.SortFunc(workers, func(a, b Capacity) int { return cmp.Compare(a.ID, b.ID) })
	need := totalBytes(layers)
	if have := offered(workers, need); have < need || len(workers) == 0 {
		return nil, &NoRoomError{Need: need, Have: have}
	}
	shares := fairShares(need, workers)
	next := &Plan{Epoch: 1, Model: model, Layers: make([][]Set, len(layers))}
	for _, w := range workers {
		next.Workers = append(next.Workers, w.ID)
	}
	if prev != nil && prev.Model != model {
		prev = &Plan{Epoch: prev.Epoch}
	}
	q := newQuotas(shares, workers)
	for l, layer := range layers {
		if layer.Experts == 0 {
			continue
		}
		counts, ok := q.divide(layer)
		if !ok {
			return nil, &NoRoomError{Need: need, Have: offered(workers, need)}
		}
		next.Layers[l] = assignLayer(previousOwners(prev, l, layer.Experts, next.Workers), counts)
	}
	if prev != nil {
		if samePlacement(prev, next) {
			return prev, nil
		}
		next.Epoch = prev.Epoch + 1
	}
	return next, nil
}

func totalBytes(layers []Layer) int64 {
	var n int64
	for _, l := range layers {
		n += int64(l.Experts) * l.ExpertBytes
	}
	return n
}

// offered is what the workers take together; what one takes beyond need does
// not count.
func offered(workers []Capacity, need int64) int64 {
	var have int64
	for _, w := range workers {
		if w.Bytes == 0 {
			have += need
		} else {
			have += min(max(w.Bytes, 0), need)
		}
	}
	return have
}

// fairShares returns the fraction of all expert bytes for each worker: equal
// shares, where a worker that cannot take its share is filled and the rest is
// divided among the others.
func fairShares(need int64, workers []Capacity) []float64 {
	shares := make([]float64, len(workers))
	open := make([]int, len(workers))
	for i := range open {
		open[i] = i
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
		shares[i] = float64(max(workers[i].Bytes, 0)) / float64(need)
		left -= shares[i]
		open = slices.Delete(open, full, full+1)
	}
	return shares
}

// quotas divides layer after layer by shares, in whole experts. What rounding
// costs a worker in one layer is given back in the next, so that totals too
// keep to the shares within an expert or so.
type quotas struct {
	shares []float64
	debt   []float64 // experts that a worker is owed, by rounding
	left   []int64   // bytes that a worker still takes
}

func newQuotas(shares []float64, workers []Capacity) *quotas {
	q := &quotas{shares: shares, debt: make([]float64, len(shares)), left: make([]int64, len(shares))}
	for i, w := range workers {
		q.left[i] = max(w.Bytes, 0)
		if w.Bytes == 0 {
			q.left[i] = math.MaxInt64
		}
	}
	return q
}

// divide returns how many experts of a layer each worker gets; ok is false if
// they do not fit, which only layers of different expert sizes can come to
// late.
func (q *quotas) divide(layer Layer) (counts []int, ok bool) {
	counts, room := make([]int, len(q.shares)), make([]int, len(q.shares))
	open := layer.Experts
	for i, s := range q.shares {
		room[i] = int(min(q.left[i]/max(layer.ExpertBytes, 1), int64(layer.Experts)))
		q.debt[i] += s * float64(layer.Experts)
		counts[i] = min(max(int(q.debt[i]+1e-9), 0), room[i], open)
		open -= counts[i]
	}
	for ; open > 0; open-- {
		most := -1
		for i, d := range q.debt {
			if counts[i] < room[i] &&
				(most < 0 || d-float64(counts[i]) > q.debt[most]-float64(counts[most])+1e-9) {
				most = i
			}
		}
		if most < 0 {
			return nil, false
		}
		counts[most]++
	}
	for i, n := range counts {
		q.debt[i] -= float64(n)
		if q.left[i] != math.MaxInt64 {
			q.left[i] -= int64(n) * layer.ExpertBytes
		}
	}
	return counts, true
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
