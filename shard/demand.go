package shard

import (
	"cmp"
	"math"
	"slices"
)

// Demand is what placements are judged by: the work that there is, and who is
// there to do it.
type Demand struct {
	Layers []Layer
	// Workers may be in any order.
	Workers []Capacity
	// Copies that every expert is to have at least, where there is room.
	Copies int
	// Load is by layer and expert; nil or all zero if nothing has been measured.
	Load Load
}

// Forecast is what a placement makes of a load. Layers come one after the
// other and each waits for its slowest worker, so times add up over layers.
type Forecast struct {
	// Slowest is how long the slowest workers compute for a second of the load,
	// in seconds summed over layers; Mean the same of the workers' mean.
	Slowest, Mean float64
}

// Balancedness is the mean by the slowest: 1 if no worker waits for another.
func (f Forecast) Balancedness() float64 {
	if f.Slowest == 0 {
		return 1
	}
	return f.Mean / f.Slowest
}

// nominalSpeed stands in while no worker has been measured: about what one core
// reads. Only whether moves pay hangs on it, and then not for long.
const nominalSpeed = 5e9

// speeds returns the workers' speeds in bytes a second.
func speeds(workers []Capacity) []float64 {
	sum, known := 0.0, 0
	for _, w := range workers {
		if w.Speed > 0 {
			sum, known = sum+w.Speed, known+1
		}
	}
	mean := nominalSpeed
	if known > 0 {
		mean = sum / float64(known)
	}
	out := make([]float64, len(workers))
	for i, w := range workers {
		out[i] = w.Speed
		if !(w.Speed > 0) {
			out[i] = mean
		}
	}
	return out
}

// SpeedsOf returns the workers' speeds by the reports on a model: the mean of
// what coordinators have measured.
func SpeedsOf(model string, reports []*Report) map[WorkerID]float64 {
	sum, count := map[WorkerID]float64{}, map[WorkerID]float64{}
	for _, r := range reports {
		if r.Model != model {
			continue
		}
		for w, v := range r.Speeds {
			if v > 0 && !bad(v) {
				sum[w] += v
				count[w]++
			}
		}
	}
	for w := range sum {
		sum[w] /= count[w]
	}
	return sum
}

// Forecast predicts how the plan's workers share the load. Experts that nobody
// holds, and workers that are not among the demand's, do not count.
func (d *Demand) Forecast(p *Plan) Forecast {
	return d.sorted().forecast(p.Layers, p.Workers)
}

func (d *Demand) forecast(layers [][]Set, ids []WorkerID) Forecast {
	var f Forecast
	d.times(layers, ids, func(times []float64) {
		f.Slowest += maxOf(times)
		f.Mean += meanOf(times)
	})
	return f
}

// Times predicts how long each of the demand's workers computes for a second of the load under a
// plan, in seconds summed over layers, as Forecast does.
func (d *Demand) Times(p *Plan) map[WorkerID]float64 {
	d = d.sorted()
	out := make(map[WorkerID]float64, len(d.Workers))
	d.times(p.Layers, p.Workers, func(times []float64) {
		for i, w := range d.Workers {
			out[w.ID] += times[i]
		}
	})
	return out
}

// times calls each with the times of the demand's workers in every layer that is wanted.
func (d *Demand) times(layers [][]Set, ids []WorkerID, each func(times []float64)) {
	for l := range d.Layers {
		if l < len(layers) && d.busy(l) {
			each(d.layer(l, d.present(layers[l], ids)).split())
		}
	}
}

func (l *layerLoad) forecast() (slowest, mean float64) {
	times := l.split()
	return maxOf(times), meanOf(times)
}

// busy reports whether anybody wants experts of a layer.
func (d *Demand) busy(l int) bool {
	return d.Layers[l].Experts > 0 && l < len(d.Load) && len(d.Load[l]) == d.Layers[l].Experts &&
		slices.ContainsFunc(d.Load[l], func(v float64) bool { return v > 0 })
}

// sorted is the demand with its workers in the order of a plan.
func (d *Demand) sorted() *Demand {
	out := *d
	out.Workers = slices.Clone(d.Workers)
	slices.SortFunc(out.Workers, func(a, b Capacity) int { return cmp.Compare(a.ID, b.ID) })
	return &out
}

// present picks the sets of the demand's workers out of a plan's layer.
func (d *Demand) present(sets []Set, ids []WorkerID) []Set {
	out := make([]Set, len(d.Workers))
	for i, w := range d.Workers {
		if at, ok := slices.BinarySearch(ids, w.ID); ok && at < len(sets) {
			out[i] = sets[at]
		}
	}
	return out
}

// layer is the load of one layer under a placement of it.
func (d *Demand) layer(l int, sets []Set) *layerLoad {
	out := &layerLoad{
		load: slices.Clone(d.Load[l]), speed: speeds(d.Workers),
		holders: make([][]int, d.Layers[l].Experts),
	}
	for w := range out.speed {
		out.speed[w] /= float64(max(d.Layers[l].ExpertBytes, 1))
	}
	for w, set := range sets {
		for _, e := range set.Experts() {
			if e < len(out.holders) {
				out.holders[e] = append(out.holders[e], w)
			}
		}
	}
	for e, holders := range out.holders {
		if len(holders) == 0 {
			out.load[e] = 0
		}
	}
	return out
}

// limits returns how many bytes each worker may be given in all.
func limits(workers []Capacity) []int64 {
	out := make([]int64, len(workers))
	for i, w := range workers {
		out[i] = math.MaxInt64
		if w.Bytes != 0 {
			out[i] = max(w.Bytes, 0)
		}
		if w.Spare > 0 {
			out[i] = min(out[i], w.Spare)
		}
	}
	return out
}
