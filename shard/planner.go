package shard

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
)

// Layer is what the planner needs to know of one layer of a model.
type Layer struct {
	// Experts is the number of routed experts; 0 for a dense layer.
	Experts int
	// ExpertBytes is the size of one expert's weights.
	ExpertBytes int64
	// Groups is the number of equal groups of consecutive experts of which a
	// token chooses a few to choose its experts from; 0 or 1 for none.
	Groups int
}

// groupSize is how many experts a group has, 0 where there are no groups.
func (l Layer) groupSize() int {
	if l.Groups <= 1 {
		return 0
	}
	return l.Experts / l.Groups
}

// Capacity is what the planner needs to know of one worker.
type Capacity struct {
	ID WorkerID
	// Bytes of experts that the worker takes; 0 means no limit.
	Bytes int64
	// Spare is how many bytes it may hold in all for further copies to be among
	// them, such as the memory of its machine; 0 means no limit but Bytes. First
	// copies do not heed it: they must be somewhere.
	Spare int64
	// Zone is its failure domain; "" if it shares none.
	Zone string
	// Speed is how many bytes of experts it works through in a second; 0 if
	// nobody has measured it: then it counts as the others' mean.
	Speed float64
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

// Next plans copies of every expert over the given workers, as evenly as their
// capacities allow, layer by layer and in all; no worker gets more than it can
// take. The first copy of everything comes first; further ones, up to the given
// number of copies, only as far as there is room. No worker gets two copies of
// an expert, and no zone does while there is room in others. A copy stays where
// it is under prev (which may be nil) if its worker's share of the layer has
// room for it. Next returns prev itself if prev is already such a plan, or one
// that was made of it by load (Demand) for the same workers.
func Next(
	prev *Plan, model string, layers []Layer, workers []Capacity, copies int,
) (*Plan, error) {
	workers = slices.Clone(workers)
	slices.SortFunc(workers, func(a, b Capacity) int { return cmp.Compare(a.ID, b.ID) })
	need := totalBytes(layers)
	if have := offered(workers, need); have < need || len(workers) == 0 {
		return nil, &NoRoomError{Need: need, Have: have}
	}
	if prev != nil && prev.Model != model {
		prev = &Plan{Epoch: prev.Epoch}
	}
	zones := zonesOf(workers)
	quotas, ok := divide(layers, workers, zones, min(max(copies, 1), len(workers)))
	if !ok {
		return nil, &NoRoomError{Need: need, Have: offered(workers, need)}
	}
	place := func(before *Plan) *Plan {
		p := &Plan{Epoch: 1, Model: model, Layers: make([][]Set, len(layers))}
		for _, w := range workers {
			p.Workers = append(p.Workers, w.ID)
		}
		for l, layer := range layers {
			if layer.Experts > 0 {
				p.Layers[l] = placeLayer(layer, quotas[l], zones, previous(before, l, p.Workers))
			}
		}
		return p
	}
	if prev != nil && prev.Basis != "" && prev.Basis == basis(workers, copies) {
		return prev, nil
	}
	next := place(prev)
	stands := func() bool {
		return prev != nil && (samePlacement(prev, next) || noBetter(prev, next, zones))
	}
	if stands() {
		return prev, nil // before a second look, which would not have ended at prev
	}
	// Where zones must be shared, a second look may find a better way.
	for better := place(next); !noBetter(next, better, zones); better = place(next) {
		next = better
	}
	if stands() {
		return prev, nil
	}
	if prev != nil {
		next.Epoch = prev.Epoch + 1
	}
	return next, nil
}

// zonesOf numbers the workers' zones; a worker without one is alone in its own.
func zonesOf(workers []Capacity) []int {
	zones, named := make([]int, len(workers)), map[string]int{}
	for i, w := range workers {
		zones[i] = i
		if first, ok := named[w.Zone]; ok {
			zones[i] = first
		} else if w.Zone != "" {
			named[w.Zone] = i
		}
	}
	return zones
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

// previous returns, for each of the workers, what it holds of a layer under
// prev.
func previous(prev *Plan, layer int, workers []WorkerID) []Set {
	sets := make([]Set, len(workers))
	if prev == nil || layer >= len(prev.Layers) || prev.Layers[layer] == nil {
		return sets
	}
	for i, id := range prev.Workers {
		if now, ok := slices.BinarySearch(workers, id); ok {
			sets[now] = prev.Layers[layer][i]
		}
	}
	return sets
}

// basis tells the workers and copies that a plan was made for from others: all
// of them that plans depend on, but for speeds.
func basis(workers []Capacity, copies int) string {
	h := fnv.New64a()
	fmt.Fprintln(h, max(copies, 1))
	for _, w := range workers {
		fmt.Fprintf(h, "%q %d %d %q\n", w.ID, w.Bytes, w.Spare, w.Zone)
	}
	return strconv.FormatUint(h.Sum64(), 16)
}

// counted is how many copies a layer's experts have: the fewest of any, and in
// all, but for those beyond the copies that an expert is to have; the zones of
// these; and the others.
type counted struct{ least, copies, zones, extra int }

func count(sets []Set, zones []int, experts, copies int) counted {
	out := counted{least: copies}
	seen := make([]bool, len(sets))
	for e := range experts {
		n, apart := 0, 0
		clear(seen)
		for w, set := range sets {
			if set.Has(e) {
				n++
				if z := zones[w]; !seen[z] {
					seen[z] = true
					apart++
				}
			}
		}
		out.least = min(out.least, n)
		out.copies += min(n, copies)
		out.zones += min(apart, copies)
		out.extra += max(n-copies, 0)
	}
	return out
}

func samePlacement(a, b *Plan) bool {
	return a.Model == b.Model && slices.Equal(a.Workers, b.Workers) &&
		slices.EqualFunc(a.Layers, b.Layers, func(x, y []Set) bool {
			return slices.EqualFunc(x, y, func(s, t Set) bool { return s.String() == t.String() })
		})
}

// noBetter reports whether next has the workers and the shares of prev and keeps
// copies apart no better: then there is nothing to move experts for.
func noBetter(prev, next *Plan, zones []int) bool {
	sameLen := func(s, t Set) bool { return s.Len() == t.Len() }
	return slices.Equal(prev.Workers, next.Workers) &&
		slices.EqualFunc(prev.Layers, next.Layers, func(x, y []Set) bool {
			return slices.EqualFunc(x, y, sameLen)
		}) && reached(prev) >= reached(next) && clashes(prev, zones) <= clashes(next, zones)
}

// reached counts the experts that have a copy anywhere.
func reached(p *Plan) int {
	n := 0
	for _, sets := range p.Layers {
		var all Set
		for _, s := range sets {
			all = all.Union(s)
		}
		n += all.Len()
	}
	return n
}

// clashes counts the copies that share a zone with another of the same expert.
func clashes(p *Plan, zones []int) int {
	n := 0
	for _, sets := range p.Layers {
		byZone := map[int]Set{}
		for i, s := range sets {
			union := byZone[zones[i]].Union(s)
			n += byZone[zones[i]].Len() + s.Len() - union.Len()
			byZone[zones[i]] = union
		}
	}
	return n
}
