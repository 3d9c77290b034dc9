package shard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// skewed draws loads of which some experts have most.
func skewed(rng *rand.Rand, layers []Layer, sigma float64) Load {
	load := make(Load, len(layers))
	for l, layer := range layers {
		load[l] = make([]float64, layer.Experts)
		for e := range load[l] {
			load[l][e] = 100 * math.Exp(sigma*rng.NormFloat64())
		}
	}
	return load
}

// drawDemand is any cluster under any load.
func drawDemand(t *rapid.T) *Demand {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	d := &Demand{Copies: 1 + rng.IntN(3), Workers: workers(1 + rng.IntN(7))}
	for range 1 + rng.IntN(4) {
		layer := Layer{Experts: 4 * rng.IntN(7), ExpertBytes: []int64{50_000, 100_000, 250_000}[rng.IntN(3)]}
		if rng.IntN(2) == 0 {
			layer.Groups = 4
		}
		d.Layers = append(d.Layers, layer)
	}
	need := totalBytes(d.Layers)
	for i := range d.Workers {
		w := &d.Workers[i]
		if zone := rng.IntN(4); zone > 0 {
			w.Zone = fmt.Sprint(zone)
		}
		if rng.IntN(3) == 0 {
			w.Bytes = rng.Int64N(need*3/2 + 1)
		}
		if rng.IntN(3) == 0 {
			w.Spare = rng.Int64N(need*3/2 + 1)
		}
		if rng.IntN(2) == 0 {
			w.Speed = 1e9 * float64(1+rng.IntN(8))
		}
	}
	d.Load = skewed(rng, d.Layers, 2*rng.Float64())
	return d
}

func usedBytes(p *Plan, layers []Layer, w int) int64 {
	var n int64
	for l, layer := range layers {
		if layer.Experts > 0 {
			n += int64(p.Layers[l][w].Len()) * layer.ExpertBytes
		}
	}
	return n
}

// keepsPromises holds a plan to what it must be, by what the one before it was.
func keepsPromises(t *rapid.T, d *Demand, before, after *Plan) {
	zones, room := zonesOf(d.Workers), limits(d.Workers)
	copies := min(d.Copies, len(d.Workers))
	for l, layer := range d.Layers {
		was, is := count(before.Layers[l], zones, layer.Experts, copies),
			count(after.Layers[l], zones, layer.Experts, copies)
		if is.least < was.least || is.copies < was.copies || is.zones < was.zones {
			t.Fatalf("layer %d: %+v after %+v", l, is, was)
		}
		if is.extra > max(was.extra, layer.Experts*copies/extraPart) {
			t.Fatalf("layer %d: %d extra copies", l, is.extra)
		}
	}
	for w, worker := range d.Workers {
		used := usedBytes(after, d.Layers, w)
		if used > max(room[w], usedBytes(before, d.Layers, w)) {
			t.Fatalf("worker %+v has %d bytes", worker, used)
		}
	}
}

// Whatever the cluster and the load: at every step of a rebalance copies, zones
// and memory are kept, each step makes the slowest workers faster, and what has been
// rebalanced stands, for the planner by number as well.
func TestRebalanceProperties(t *testing.T) {
	done := 0
	rapid.Check(t, func(t *rapid.T) {
		d := drawDemand(t)
		plan, err := Next(nil, "m", d.Layers, d.Workers, d.Copies)
		if err != nil {
			return // there is no room
		}
		r := d.Rebalance(plan)
		if again := d.Rebalance(plan); (r == nil) != (again == nil) ||
			r != nil && !samePlacement(d.Apply(plan, r.Steps), d.Apply(plan, again.Steps)) {
			t.Fatalf("the same inputs, two plans")
		}
		if r == nil {
			return
		}
		done++
		now, slowest, bytes := plan, r.Before.Slowest, int64(0)
		for i := range r.Steps {
			next := d.Apply(now, r.Steps[i:i+1])
			keepsPromises(t, d, now, next)
			f := d.Forecast(next)
			if f.Slowest >= slowest {
				t.Fatalf("step %d: %v s after %v s", i, f.Slowest, slowest)
			}
			bytes += r.Steps[i].Bytes
			now, slowest = next, f.Slowest
			if stands, err := Next(now, "m", d.Layers, d.Workers, d.Copies); err != nil || stands != now {
				t.Fatalf("step %d does not stand (%v)", i, err)
			}
		}
		if math.Abs(slowest-r.After.Slowest) > 1e-9*slowest {
			t.Fatalf("%v s after all steps, said were %v s", slowest, r.After.Slowest)
		}
		if saved := r.Before.Slowest - slowest; saved < leastSaving*r.Before.Slowest ||
			saved*horizon < float64(bytes)/loadingRate*(1-1e-9) {
			t.Fatalf("%d bytes for %v s", bytes, saved)
		}
		if more := d.Rebalance(now); more != nil {
			t.Fatalf("not at rest: %+v", more)
		}
	})
	t.Logf("%d rebalances", done)
}

// Workers come and go under load: the plan keeps its promises, and stands.
func TestDemandNextProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawDemand(t)
		var prev *Plan
		for range 3 {
			even, err := Next(prev, "m", d.Layers, d.Workers, d.Copies)
			next, err2 := d.Next(prev, "m")
			if (err == nil) != (err2 == nil) {
				t.Fatalf("%v or %v", err, err2)
			}
			if err != nil {
				return
			}
			keepsPromises(t, d, even, next)
			if a, b := d.Forecast(even).Slowest, d.Forecast(next).Slowest; b > a*(1+1e-9) {
				t.Fatalf("%v s with even shares, %v s by load", a, b)
			}
			if again, err := d.Next(next, "m"); err != nil || again != next {
				t.Fatalf("does not stand (%v)", err)
			}
			prev = next
			if n := rapid.IntRange(1, 7).Draw(t, "workers"); n < len(d.Workers) {
				d.Workers = d.Workers[:n]
			} else {
				d.Workers = append(d.Workers, workers(n)[len(d.Workers):]...)
			}
		}
	})
}

// The split is as fast as any set of experts allows whose holders are in each
// other's way: that bound is reached (max-flow, min-cut).
func TestSplitIsOptimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		l := &layerLoad{speed: make([]float64, 1+rng.IntN(6))}
		for w := range l.speed {
			l.speed[w] = float64(1 + rng.IntN(5))
		}
		experts := 1 + rng.IntN(10)
		for range experts {
			holders := rng.Perm(len(l.speed))[:1+rng.IntN(len(l.speed))]
			slices.Sort(holders)
			l.holders = append(l.holders, holders)
			l.load = append(l.load, 10*rng.ExpFloat64())
		}
		// Over all sets of workers: what only they can do, by their speed.
		bound := 0.0
		for set := 1; set < 1<<len(l.speed); set++ {
			work, power := 0.0, 0.0
			for w, v := range l.speed {
				if set>>w&1 == 1 {
					power += v
				}
			}
			for e, holders := range l.holders {
				if !slices.ContainsFunc(holders, func(w int) bool { return set>>w&1 == 0 }) {
					work += l.load[e]
				}
			}
			bound = max(bound, work/power)
		}
		times := l.split()
		sum, total := 0.0, 0.0
		for w, v := range times {
			sum += v * l.speed[w]
		}
		for _, v := range l.load {
			total += v
		}
		if got := maxOf(times); got > bound*1.005 || got < bound*(1-1e-9) || math.Abs(sum-total) > 1e-9*total {
			t.Fatalf("slowest %v, the best is %v; %v of %v reads", got, bound, sum, total)
		}
	})
}

// A hot expert gets copies, a slow worker less to do; and noise moves nothing.
func TestRebalanceForReasons(t *testing.T) {
	d := &Demand{Layers: equalLayers(4, 32), Workers: workers(4), Copies: 1}
	for l := range d.Layers {
		d.Layers[l].ExpertBytes = 1e6
	}
	d.Load = d.uniform()
	for l := range d.Load {
		for e := range d.Load[l] {
			d.Load[l][e] = 100
		}
	}
	plan, err := d.Next(nil, "m")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 3))
	noisy := *d
	noisy.Load = make(Load, len(d.Load))
	for l := range d.Load {
		noisy.Load[l] = slices.Clone(d.Load[l])
		for e := range d.Load[l] {
			noisy.Load[l][e] *= 1 + .1*rng.NormFloat64()
		}
	}
	noisy.Workers = slices.Clone(d.Workers)
	for w := range noisy.Workers {
		noisy.Workers[w].Speed = 1e9 * (1 + .02*rng.NormFloat64())
	}
	if r := noisy.Rebalance(plan); r != nil {
		t.Errorf("noise moves experts: %+v to %+v", r.Before, r.After)
	}
	if r := (&Demand{Layers: d.Layers, Workers: d.Workers, Copies: 1}).Rebalance(plan); r != nil {
		t.Error("experts move without a load")
	}

	slow := *d
	slow.Workers = workers(4)
	for w, v := range []float64{.25e9, 1e9, 1e9, 1e9} {
		slow.Workers[w].Speed = v
	}
	r := slow.Rebalance(plan)
	if r == nil {
		t.Fatal("a slow worker keeps its share")
	}
	after := slow.Apply(plan, r.Steps)
	t.Logf("a worker at a quarter of the speed: slowest %.4f → %.4f s, balancedness %.2f → %.2f, it holds %v",
		r.Before.Slowest, r.After.Slowest, r.Before.Balancedness(), r.After.Balancedness(), load(after))
	if got := load(after)["w00"]; got > 16 || r.After.Slowest > .5*r.Before.Slowest {
		t.Errorf("the slow worker still has %d experts of 128", got)
	}

	hot := *d
	hot.Load = d.uniform()
	for l := range hot.Load {
		for e := range hot.Load[l] {
			hot.Load[l][e] = 100
		}
		hot.Load[l][5] = 5000
	}
	r = hot.Rebalance(plan)
	if r == nil {
		t.Fatal("a hot expert keeps its one copy")
	}
	after = hot.Apply(plan, r.Steps)
	for l, sets := range after.Layers {
		n := 0
		for _, s := range sets {
			if s.Has(5) {
				n++
			}
		}
		if n < 2 {
			t.Errorf("layer %d: the hot expert has %d copies", l, n)
		}
	}
	// It cools down: what it was given beyond the copies of others is no longer
	// worth anything, and nothing moves for that.
	if r := d.Rebalance(after); r != nil && r.Before.Balancedness() > .95 {
		t.Errorf("experts move back: %+v", r)
	}
}

// Tokens that choose from a few groups ask fewer workers if groups are together.
func TestGroupsStayTogether(t *testing.T) {
	// fanOut is the mean number of workers that a token asks.
	fanOut := func(p *Plan) float64 {
		rng := rand.New(rand.NewPCG(8, 8))
		asked, tokens := 0, 0
		for range 2000 {
			for _, sets := range p.Layers {
				groups := rng.Perm(8)[:2]
				var workers Set
				for range 6 {
					e := groups[rng.IntN(2)]*8 + rng.IntN(8)
					workers.Add(slices.IndexFunc(sets, func(s Set) bool { return s.Has(e) }))
				}
				asked += workers.Len()
				tokens++
			}
		}
		return float64(asked) / float64(tokens)
	}
	grow := func(groups int, sizes ...int) float64 {
		layers := equalLayers(4, 64)
		for l := range layers {
			layers[l].Groups = groups
		}
		var p *Plan
		for _, n := range sizes {
			next, err := Next(p, "m", layers, workers(n), 1)
			if err != nil {
				t.Fatal(err)
			}
			p = next
		}
		return fanOut(p)
	}
	better := 0
	for _, sizes := range [][]int{{4}, {8}, {3}, {2, 4}, {4, 8}, {8, 4}, {3, 4}, {4, 5, 4}, {2, 3, 4, 8}, {8, 7, 8}} {
		with, without := grow(8, sizes...), grow(0, sizes...)
		t.Logf("workers %v: a token asks %.2f workers, %.2f without regard to groups", sizes, with, without)
		if with > without*1.001 {
			t.Errorf("workers %v: groups are less together", sizes)
		}
		if with < without*.99 {
			better++
		}
	}
	if better < 2 {
		t.Errorf("better in %d cases", better)
	}
}

// demandAtScale is DeepSeek-V3 on 64 workers.
func demandAtScale() (*Demand, *Plan, error) {
	d := &Demand{Layers: equalLayers(61, 256), Workers: workers(64), Copies: 2}
	for l := range d.Layers {
		d.Layers[l].ExpertBytes, d.Layers[l].Groups = 44e6, 8
		if l < 3 {
			d.Layers[l].Experts = 0
		}
	}
	for w := range d.Workers {
		d.Workers[w].Speed = []float64{1e10, 2e10, 4e10}[w%3]
	}
	d.Load = skewed(rand.New(rand.NewPCG(4, 4)), d.Layers, 1.2)
	p, err := Next(nil, "m", d.Layers, d.Workers, d.Copies)
	return d, p, err
}

func BenchmarkRebalance(b *testing.B) {
	d, p, err := demandAtScale()
	if err != nil {
		b.Fatal(err)
	}
	for _, copies := range []int{1, 2} {
		d.Copies = copies
		if p, err = Next(nil, "m", d.Layers, d.Workers, copies); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("copies=%d", copies), func(b *testing.B) {
			for b.Loop() {
				if r := d.Rebalance(p); r != nil {
					bytes := int64(0)
					for _, s := range r.Steps {
						bytes += s.Bytes
					}
					b.ReportMetric(r.Before.Balancedness(), "before")
					b.ReportMetric(r.After.Balancedness(), "after")
					b.ReportMetric(float64(bytes)/1e9, "GB-moved")
				}
			}
		})
	}
	b.Run("forecast", func(b *testing.B) {
		for b.Loop() {
			d.Forecast(p)
		}
	})
}
