package coordinator

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// looks has a controller look at even load on equal workers, whose speeds are measured with noise
// (the σ of their logarithm), every ten seconds, and counts the rebalances.
func looks(t *testing.T, sigma float64, n int) (rebalances int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	d := &shard.Demand{Copies: 1}
	for range 8 {
		d.Layers = append(d.Layers, shard.Layer{Experts: 32, ExpertBytes: 1000})
		load := make([]float64, 32)
		for e := range load {
			load[e] = 100
		}
		d.Load = append(d.Load, load)
	}
	for _, id := range []shard.WorkerID{"a", "b", "c", "d"} {
		d.Workers = append(d.Workers, shard.Capacity{ID: id})
	}
	plan, err := shard.Next(nil, "m", d.Layers, d.Workers, 1)
	if err != nil {
		t.Fatal(err)
	}
	var calm restraint
	var past paces
	at := time.Unix(0, 0)
	for range n {
		at = at.Add(10 * time.Second)
		speeds := map[shard.WorkerID]float64{}
		for _, w := range d.Workers {
			speeds[w.ID] = 1e10 * math.Exp(sigma*rng.NormFloat64())
		}
		speeds = past.smooth(speeds, at)
		for i := range d.Workers {
			d.Workers[i].Speed = speeds[d.Workers[i].ID]
		}
		look := &thought{at: at, epoch: plan.Epoch, change: d.Rebalance(plan)}
		if calm.allows(look) {
			plan = d.Apply(plan, look.change.Steps)
			rebalances++
		}
	}
	return rebalances
}

// Equal workers keep their experts; on machines so busy that speeds are off by a third each time
// they seldom move, though loading costs next to nothing here.
func TestNoiseMovesLittle(t *testing.T) {
	const hour = 360
	for sigma, most := range map[float64]int{0: 0, 0.05: 0, 0.3: 12} {
		n := looks(t, sigma, hour)
		t.Logf("σ %.2f: %d rebalances in an hour", sigma, n)
		if n > most {
			t.Errorf("σ %.2f: %d rebalances in an hour, at most %d", sigma, n, most)
		}
	}
}

// What one look finds and the next does not was noise; another plan starts anew.
func TestRestraint(t *testing.T) {
	gain := &shard.Rebalance{Before: shard.Forecast{Slowest: 1}, After: shard.Forecast{Slowest: .92}}
	var r restraint
	start := time.Unix(1000, 0)
	for i, k := range []struct {
		after  time.Duration
		epoch  uint64
		change *shard.Rebalance
		want   bool
	}{
		{0, 1, gain, false},
		{lasting / 2, 1, gain, false},
		{lasting, 1, nil, false},
		{lasting + 1, 1, gain, false},
		{2*lasting + 1, 2, gain, false},
		{3*lasting + 1, 2, gain, true},
		{10 * lasting, 3, gain, false}, // 8 % are too little so soon
		{11 * lasting, 3, gain, false},
		{barHalfLife, 3, gain, false},
		{barHalfLife + lasting, 3, gain, true},
	} {
		look := &thought{at: start.Add(k.after), epoch: k.epoch, change: k.change}
		if got := r.allows(look); got != k.want {
			t.Errorf("look %d: %v, want %v", i, got, k.want)
		}
	}
}

func TestSpeedsFor(t *testing.T) {
	type speeds = map[string]float64
	probes := func(of speeds) membership.State {
		s := registry(nil)
		for id, v := range of {
			s.Workers[id] = membership.Worker{ID: id, Model: thisModel, Bandwidth: v}
		}
		return s
	}
	for name, k := range map[string]struct {
		probes, measured, want speeds
	}{
		"nothing is known":               {speeds{"a": 0, "b": 0}, nil, nil},
		"all are measured":               {speeds{"a": 9e9, "b": 1e9}, speeds{"a": 2, "b": 3}, speeds{"a": 2, "b": 3}},
		"all are probed":                 {speeds{"a": 4e9, "b": 1e9}, nil, speeds{"a": 4e9, "b": 1e9}},
		"probes of equal machines":       {speeds{"a": 4e9, "b": 3e9, "c": 5e9}, nil, nil},
		"a probe that cannot be":         {speeds{"a": 1e9, "b": 1e9, "c": 1e30}, nil, speeds{"a": 1e9, "b": 1e9, "c": 8e9}},
		"a new one, three times as fast": {speeds{"a": 1e9, "b": 1e9, "c": 3e9}, speeds{"a": 4, "b": 4}, speeds{"a": 4, "b": 4, "c": 12}},
		"a new one, none else probed":    {speeds{"a": 0, "b": 3e9}, speeds{"a": 4}, speeds{"a": 4}},
		"measured at zero":               {speeds{"a": 2e9, "b": 2e9}, speeds{"a": 0, "b": 3}, speeds{"a": 3, "b": 3}},
		"measured, but gone":             {speeds{"a": 0}, speeds{"z": 3}, nil},
	} {
		measured := map[shard.WorkerID]float64{}
		for id, v := range k.measured {
			measured[shard.WorkerID(id)] = v
		}
		got := speedsFor(probes(k.probes), thisModel, measured)
		for id := range k.probes {
			if got[id] != k.want[id] {
				t.Errorf("%s: %s is %v, want %v", name, id, got[id], k.want[id])
			}
		}
	}
}

// Plans that cannot be read, or that nothing could follow, are replaced, by one that is newer than
// what anybody follows.
func TestBrokenPlanIsReplaced(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":        "{",
		"the last epoch": `{"epoch":18446744073709551615,"model":"fingerprint","workers":["a"],"layers":[["0-7"]]}`,
	} {
		c := &controller{
			model: thisModel, layers: []shard.Layer{{Experts: 8, ExpertBytes: 10}},
			damper: newDamper(thisModel), minWorkers: 1,
		}
		s := registry(nil, membership.Worker{ID: "a", PlanEpoch: 5}, membership.Worker{ID: "b", PlanEpoch: math.MaxUint64})
		s.Plan, s.PlanRevision = []byte(text), 9
		for _, seen := range []uint64{0, 40} {
			if seen > 0 {
				old := &shard.Plan{
					Epoch: seen, Model: thisModel, Workers: []shard.WorkerID{"a", "b"},
					Layers: [][]shard.Set{{shard.NewSet(0, 1, 2, 3), shard.NewSet(4, 5, 6, 7)}},
				}
				c.damper.observe(registry(old), time.Now())
			}
			c.damper.observe(s, time.Now())
			next, _, err := c.consider(s, time.Now())
			if err != nil || next == nil || next.Epoch != max(seen, 5)+1 {
				t.Errorf("%s: %+v, %v after epoch %d", name, next, err, max(seen, 5))
			}
		}
	}
}
