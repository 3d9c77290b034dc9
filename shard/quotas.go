package shard

import (
	"math"
	"slices"
)

// divide returns how many copies of each layer's experts each worker gets:
// quotas[layer][worker]. ok is false if not even one copy of everything fits,
// which only layers of different expert sizes can come to after offered has
// been looked at.
//
// It goes round by round, a copy of everything in each, and so the first copies
// have the room that they need before others get any. A round whose experts do
// not all fit takes what room there is.
func divide(
	layers []Layer, workers []Capacity, zones []int, copies int,
) (quotas [][]int, ok bool) {
	need := totalBytes(layers)
	q := newQuotas(layers, workers, zones)
	for round := range copies {
		for _, apart := range []bool{true, false} {
			placed := q.round(layers, need, round+1, apart)
			if round == 0 && !placed && !apart {
				return nil, false
			}
			if placed {
				break
			}
		}
	}
	return q.counts, true
}

// quotas is what the workers have been given so far.
type quotas struct {
	zones  []int
	left   []int64   // by worker: bytes that it still takes
	spare  []int64   // by worker: bytes from which on it takes no further copies
	used   []int64   // by worker: bytes that it has been given
	counts [][]int   // by layer and worker: experts
	debt   []float64 // by worker: experts that it is owed, by rounding
}

func newQuotas(layers []Layer, workers []Capacity, zones []int) *quotas {
	n := len(workers)
	q := &quotas{
		zones: zones, left: make([]int64, n), spare: make([]int64, n), used: make([]int64, n),
		counts: make([][]int, len(layers)), debt: make([]float64, n),
	}
	for i, w := range workers {
		q.left[i] = max(w.Bytes, 0)
		if w.Bytes == 0 {
			q.left[i] = math.MaxInt64
		}
		q.spare[i] = math.MaxInt64
		if w.Spare > 0 {
			q.spare[i] = w.Spare
		}
	}
	for l := range layers {
		q.counts[l] = make([]int, n)
	}
	return q
}

// round gives the workers copies until there are round of every expert, as far
// as there is room, and reports whether there was. With apart no zone gets more
// copies in a layer than there are experts: then they can be kept apart.
func (q *quotas) round(layers []Layer, need int64, round int, apart bool) bool {
	given := int64(0)
	for _, n := range q.used {
		given += n
	}
	shares := q.shares(float64(int64(round)*need-given), float64(need), round, apart)
	all := true
	for l, layer := range layers {
		open := round * layer.Experts
		for _, n := range q.counts[l] {
			open -= n
		}
		if open > 0 && !q.layer(l, layer, open, shares, round, apart) {
			all = false
		}
	}
	return all
}

// shares returns how much of the given bytes each worker takes: equal parts,
// where one that cannot take its part is filled, and the rest is divided among
// the others. With apart the same goes for zones. The parts are fractions of
// what is divided.
func (q *quotas) shares(bytes, need float64, round int, apart bool) []float64 {
	shares, limits := make([]float64, len(q.left)), make([]float64, len(q.left))
	open := make([]int, len(q.left))
	for i := range open {
		open[i] = i
		limits[i] = min(float64(q.free(i, round)), need-float64(q.used[i]))
	}
	left := bytes
	for apart {
		q.pour(left, open, limits, shares)
		zone, limit, poured := q.overfull(open, shares, need)
		if zone < 0 {
			break
		}
		members := slices.DeleteFunc(slices.Clone(open), func(i int) bool { return q.zones[i] != zone })
		open = slices.DeleteFunc(open, func(i int) bool { return q.zones[i] == zone })
		q.pour(min(limit, poured), members, limits, shares)
		left -= min(limit, poured)
	}
	if !apart {
		q.pour(left, open, limits, shares)
	}
	for i := range shares {
		shares[i] /= max(bytes, 1)
	}
	return shares
}

// free is how many bytes a worker takes in a round.
func (q *quotas) free(i, round int) int64 {
	if round == 1 {
		return q.left[i]
	}
	return min(q.left[i], max(q.spare[i]-q.used[i], 0))
}

// overfull returns a zone of open workers that was given more than keeps its
// copies apart, with that limit.
func (q *quotas) overfull(
	open []int, shares []float64, need float64,
) (zone int, limit, poured float64) {
	for _, i := range open {
		limit, poured = need, 0
		for _, j := range open {
			if q.zones[j] == q.zones[i] {
				poured += shares[j]
			}
		}
		for j, z := range q.zones {
			if z == q.zones[i] {
				limit -= float64(q.used[j])
			}
		}
		if poured > limit*(1+1e-9)+.5 {
			return q.zones[i], limit, poured
		}
	}
	return -1, 0, 0
}

// pour divides bytes among open workers evenly within their limits.
func (q *quotas) pour(bytes float64, open []int, limits, shares []float64) {
	open = slices.Clone(open)
	for len(open) > 0 {
		equal := bytes / float64(len(open))
		full := slices.IndexFunc(open, func(i int) bool { return limits[i] < equal })
		if full < 0 {
			for _, i := range open {
				shares[i] = equal
			}
			return
		}
		i := open[full]
		shares[i] = max(limits[i], 0)
		bytes -= shares[i]
		open = slices.Delete(open, full, full+1)
	}
}

// layer gives the workers so many experts of a layer by their shares, and
// reports whether they fit. What rounding costs a worker in one layer is given
// back in the next, so that totals too keep to the shares within an expert or
// so.
func (q *quotas) layer(
	l int, layer Layer, open int, shares []float64, round int, apart bool,
) bool {
	counts, debt := q.counts[l], q.debt
	room := func(i int) int {
		n := min(int64(layer.Experts-counts[i]), q.free(i, round)/max(layer.ExpertBytes, 1))
		if apart {
			inZone := 0
			for j, z := range q.zones {
				if z == q.zones[i] {
					inZone += counts[j]
				}
			}
			n = min(n, int64(layer.Experts-inZone))
		}
		return max(int(n), 0)
	}
	give := func(i, n int) {
		counts[i] += n
		debt[i] -= float64(n)
		q.used[i] += int64(n) * layer.ExpertBytes
		if q.left[i] != math.MaxInt64 {
			q.left[i] -= int64(n) * layer.ExpertBytes
		}
		open -= n
	}
	total := open
	for i, s := range shares {
		debt[i] += s * float64(total)
		give(i, min(max(int(debt[i]+1e-9), 0), room(i), open))
	}
	for open > 0 {
		most := -1
		for i, d := range debt {
			if room(i) > 0 && (most < 0 || d > debt[most]+1e-9) {
				most = i
			}
		}
		if most < 0 {
			return false
		}
		give(most, 1)
	}
	return true
}
