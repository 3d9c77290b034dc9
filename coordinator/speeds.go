package coordinator

import (
	"math"
	"slices"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// paces remembers how fast workers have been. Whoever shares a machine with others is slow for
// seconds at a time, which is no reason to move experts.
type paces struct {
	at     time.Time
	speeds map[shard.WorkerID]float64
}

// paceMemory is the time in which an old speed loses all but 37 % of its weight.
const paceMemory = 2 * time.Minute

// smooth takes in what was measured at a time and returns means. A worker's first speed counts
// as it is; one that is not measured any more is forgotten.
func (p *paces) smooth(
	measured map[shard.WorkerID]float64, at time.Time,
) map[shard.WorkerID]float64 {
	weight := 1 - math.Exp(-at.Sub(p.at).Seconds()/paceMemory.Seconds())
	speeds := make(map[shard.WorkerID]float64, len(measured))
	for id, v := range measured {
		if old, ok := p.speeds[id]; ok {
			v = old + (v-old)*weight
		}
		speeds[id] = v
	}
	p.at, p.speeds = at, speeds
	return speeds
}

// What workers measure of themselves takes a moment, while others may do the same on the same
// machine. It tells a large machine from a small one: within probeNoise of the median all count
// as the median, and no more than probeRange from it.
const probeNoise, probeRange = 1.5, 8

// speedsFor returns, by id, how fast the workers of a model that take experts are, in bytes of
// experts a second, as far as that is known. Measured speeds win. Those that have none get one
// from their own probe, at the rate of those that have both: the two say the same of another
// kind of work, and differ by a factor.
func speedsFor(
	state membership.State, model string, measured map[shard.WorkerID]float64,
) map[string]float64 {
	speeds, probes := map[string]float64{}, map[string]float64{}
	for id, w := range state.Workers {
		if w.Model != model || w.Draining {
			continue
		}
		if v := measured[shard.WorkerID(id)]; v > 0 {
			speeds[id] = v
		}
		if w.Bandwidth > 0 && !math.IsInf(w.Bandwidth, 1) {
			probes[id] = w.Bandwidth
		}
	}
	temper(probes)
	if len(speeds) == 0 && alikeAll(probes) {
		return nil
	}
	scale := 1.0
	if len(speeds) > 0 {
		var both, probed float64
		for id, v := range speeds {
			if p, ok := probes[id]; ok {
				both, probed = both+v, probed+p
			}
		}
		scale = ratio(both, probed) // 0 if nobody has both: the others' mean says more
	}
	for id, v := range probes {
		if _, ok := speeds[id]; !ok && scale > 0 {
			speeds[id] = v * scale
		}
	}
	return speeds
}

// temper takes noise and nonsense out of what workers measured of themselves.
func temper(probes map[string]float64) {
	if len(probes) == 0 {
		return
	}
	sorted := make([]float64, 0, len(probes))
	for _, v := range probes {
		sorted = append(sorted, v)
	}
	slices.Sort(sorted)
	median := sorted[(len(sorted)-1)/2]
	for id, v := range probes {
		if v < median*probeNoise && v*probeNoise > median {
			v = median
		}
		probes[id] = min(max(v, median/probeRange), median*probeRange)
	}
}

// alikeAll reports whether no speed differs from another.
func alikeAll(speeds map[string]float64) bool {
	least, most := math.Inf(1), 0.0
	for _, v := range speeds {
		least, most = min(least, v), max(most, v)
	}
	return most <= least
}
