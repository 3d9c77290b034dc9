package shard

import (
	"cmp"
	"slices"
)

// A rebalance costs what it loads, and must earn it.
const (
	// horizon is for how many seconds a load is expected to stay as it is:
	// longer, and what is popular has changed before the move has paid; shorter,
	// and lasting gains are left lying.
	horizon = 600
	// loadingRate is how many bytes of experts a worker loads in a second: a line
	// of 1 Gbit/s. From its own disk it is faster, and then moves cost less than
	// they are thought to.
	loadingRate = 100e6
	// leastSaving is the part of the slowest workers' time that a rebalance must
	// save. Loads and speeds are measured, and differ by some hundredths from one
	// time to the next: what does not change must not move experts to and fro.
	leastSaving = 0.05
	// extraPart bounds the copies beyond those that every expert has, by one for
	// so many of them in a layer. It is what DeepSeek's own example of expert
	// balancing adds to 12 experts; twice as much gains next to nothing.
	extraPart = 3
	// rounds bounds how often the result is looked at again, until it stands.
	rounds = 4
)

// Step is a part of a rebalance that can be made on its own: one layer.
type Step struct {
	Layer int
	// Sets are by worker, in the order of the plan's.
	Sets []Set
	// Moves is how many experts workers load for it, Bytes how much that is.
	Moves int
	Bytes int64
}

// Rebalance is a way from a plan to a better one, step by step: those first that
// gain most for what they load. After each of them no worker has more than it
// takes.
type Rebalance struct {
	Steps         []Step
	Before, After Forecast
}

// Saving is the part of the slowest workers' time that it takes off.
func (r *Rebalance) Saving() float64 { return 1 - r.After.Slowest/r.Before.Slowest }

// Apply returns the plan that follows prev by making some steps.
func (d *Demand) Apply(prev *Plan, steps []Step) *Plan {
	next := &Plan{
		Epoch: prev.Epoch + 1, Model: prev.Model, Workers: prev.Workers,
		Layers: slices.Clone(prev.Layers), Basis: basis(d.sorted().Workers, d.Copies),
	}
	for _, s := range steps {
		next.Layers[s.Layer] = s.Sets
	}
	return next
}

// Rebalance looks for changes to a plan that take time off the slowest workers
// and pay for what they load. It returns nil if there are none: above all after
// it has been done. The plan must have the demand's workers, and keeps copies
// and zones at least as it has them.
func (d *Demand) Rebalance(prev *Plan) *Rebalance {
	d = d.sorted()
	ids := make([]WorkerID, len(d.Workers))
	for i, w := range d.Workers {
		ids[i] = w.ID
	}
	if !slices.Equal(ids, prev.Workers) || len(prev.Layers) != len(d.Layers) {
		return nil
	}
	r := &Rebalance{Before: d.forecast(prev.Layers, ids)}
	b := &balancing{Demand: d, layers: slices.Clone(prev.Layers), held: prev.Layers}
	for range rounds {
		steps := b.round()
		if len(steps) == 0 {
			break
		}
		r.Steps = append(r.Steps, steps...)
		b.held = slices.Clone(b.layers)
	}
	r.After = d.forecast(b.layers, ids)
	if r.Before.Slowest-r.After.Slowest < leastSaving*r.Before.Slowest || len(r.Steps) == 0 {
		return nil
	}
	return r
}

// Next is the function of that name, and where loads or speeds are known its
// plan follows them as far as that pays; what has to be loaded anyway is not
// counted. It returns prev itself if nothing must change; Rebalance tells what
// might.
func (d *Demand) Next(prev *Plan, model string) (*Plan, error) {
	next, err := Next(prev, model, d.Layers, d.Workers, d.Copies)
	if err != nil || next == prev {
		return next, err
	}
	d = d.sorted()
	b := &balancing{Demand: d, layers: slices.Clone(next.Layers)}
	if prev != nil && prev.Model == model {
		b.held = make([][]Set, len(d.Layers))
		for l := range min(len(d.Layers), len(prev.Layers)) {
			b.held[l] = d.present(prev.Layers[l], prev.Workers)
		}
	} else if len(d.Load) == 0 && d.measured() {
		d.Load = d.uniform()
	}
	if steps := b.round(); len(steps) > 0 {
		next.Layers, next.Basis = b.layers, basis(d.Workers, d.Copies)
	}
	return next, nil
}

// measured reports whether any worker's speed is known.
func (d *Demand) measured() bool {
	return slices.ContainsFunc(d.Workers, func(w Capacity) bool { return w.Speed > 0 })
}

// uniform is a load under which all experts are wanted alike.
func (d *Demand) uniform() Load {
	load := make(Load, len(d.Layers))
	for l, layer := range d.Layers {
		load[l] = slices.Repeat([]float64{1}, layer.Experts)
	}
	return load
}

// balancing is a placement that is being improved.
type balancing struct {
	*Demand
	layers [][]Set // by layer and worker
	held   [][]Set // what is loaded; nil: loading costs nothing
}

// round improves each layer as far as it pays, if that is enough in all.
func (b *balancing) round() []Step {
	type prospect struct {
		layer        int
		slowest, per float64
	}
	var order []prospect
	total, saved := 0.0, 0.0
	for l := range b.Layers {
		if !b.busy(l) {
			continue
		}
		slowest, mean := b.layer(l, b.layers[l]).forecast()
		total += slowest
		per := (slowest - mean) / float64(max(b.Layers[l].ExpertBytes, 1))
		order = append(order, prospect{l, slowest, per})
	}
	// The gain for a byte is not known yet; what there is to be gained is.
	slices.SortStableFunc(order, func(x, y prospect) int { return cmp.Compare(y.per, x.per) })
	before := slices.Clone(b.layers)
	var steps []Step
	for _, p := range order {
		if step, slowest := b.improve(p.layer, p.slowest); slowest < p.slowest {
			saved += p.slowest - slowest
			steps = append(steps, step)
		}
	}
	if saved < leastSaving*total {
		b.layers = before
		return nil
	}
	return steps
}

// improve makes as many changes to a layer as pay best, and returns them as a
// step, and the time of the slowest worker then.
func (b *balancing) improve(l int, slowest float64) (Step, float64) {
	s := b.search(l)
	if s.floor == 0 {
		return Step{}, slowest // a broken plan: nobody has some expert
	}
	bytes := b.Layers[l].ExpertBytes
	value := func(time float64, loads int) float64 {
		return (slowest-time)*horizon - float64(loads)*float64(bytes)/loadingRate
	}
	if b.held == nil {
		return b.renew(l, s, slowest)
	}
	base := s.loads() // of a plan that has to be made in any case
	best, bestTime, bestLoads := []Set(nil), slowest, 0
	bestValue := 0.0
	for done, check := 0, 1; ; {
		more := done < maxChanges && s.step()
		if more {
			done++
		}
		if more && done < check {
			continue
		}
		check += max(check/3, 1)
		time, mean := s.forecast()
		if v := value(time, s.loads()-base); v > bestValue {
			best, bestTime, bestLoads, bestValue = s.placement(), time, s.loads(), v
		}
		if !more || time <= mean*(1+splitTolerance) {
			break
		}
	}
	if best == nil {
		return Step{}, slowest
	}
	b.layers[l] = best
	return Step{Layer: l, Sets: best, Moves: bestLoads, Bytes: int64(bestLoads) * bytes}, bestTime
}

// renew improves a layer that is not loaded anywhere: from where it is, and from
// a fresh deal.
func (b *balancing) renew(l int, s *search, slowest float64) (Step, float64) {
	tries := []*search{s}
	if sets := s.deal(); sets != nil {
		again := b.search(l)
		for w, set := range sets {
			again.room[w] += again.sets[w].Len() - set.Len()
		}
		again.sets, again.extra = sets, b.extra(l)
		again.open()
		tries = append(tries, again)
	}
	var best *search
	for _, try := range tries {
		for done := 0; done < maxChanges && try.step(); done++ {
		}
		if best == nil || maxOf(try.times) < maxOf(best.times) {
			best = try
		}
	}
	time, _ := best.forecast()
	if time >= slowest {
		return Step{}, slowest
	}
	b.layers[l] = best.placement()
	return Step{Layer: l, Sets: b.layers[l]}, time
}

// extra is how many copies beyond those that all have a layer may get.
func (b *balancing) extra(l int) int {
	return b.Layers[l].Experts * min(max(b.Copies, 1), len(b.Workers)) / extraPart
}

// maxChanges bounds the changes to a layer in a round.
const maxChanges = 1024

// search opens a layer for changes, with the room that the other layers leave.
func (b *balancing) search(l int) *search {
	layer := b.Layers[l]
	s := &search{
		layerLoad: *b.layer(l, nil), zones: zonesOf(b.Workers), groupSize: layer.groupSize(),
		sets: slices.Clone(b.layers[l]), room: make([]int, len(b.Workers)),
		copies: min(max(b.Copies, 1), len(b.Workers)),
	}
	copy(s.load, b.Load[l])
	if b.held != nil {
		s.held = b.held[l]
	}
	s.extra = b.extra(l)
	bytes := max(layer.ExpertBytes, 1)
	for w, limit := range limits(b.Workers) {
		for k := range b.Layers {
			if b.layers[k] != nil {
				limit -= int64(b.layers[k][w].Len()) * b.Layers[k].ExpertBytes
			}
		}
		s.room[w] = int(min(max(limit, 0)/bytes, int64(layer.Experts)))
	}
	s.open()
	return s
}
