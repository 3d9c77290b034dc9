package shard

import (
	"encoding/json"
	"os"
	"testing"
)

// eplbCase is what DeepSeek's expert balancer makes of some loads: see
// tools/eplb/make.py.
type eplbCase struct {
	Name     string
	Replicas int
	GPUs     int
	Load     Load
	Hottest  []float64 // by layer, of equal GPUs
	Worst    []float64 // by layer, of GPUs with these speeds in turn
}

// evenly is the time of the slowest worker when each copy of an expert gets an
// equal part of its load, which is how EPLB judges a placement.
func evenly(load []float64, sets []Set, speeds []float64) float64 {
	copies := make([]int, len(load))
	for _, s := range sets {
		for _, e := range s.Experts() {
			copies[e]++
		}
	}
	worst := 0.0
	for w, s := range sets {
		sum := 0.0
		for _, e := range s.Experts() {
			sum += load[e] / float64(copies[e])
		}
		worst = max(worst, sum/speeds[w%len(speeds)])
	}
	return worst
}

// On the loads that EPLB publishes and on skewed ones at the size of
// DeepSeek-V3, with as many places on each worker, no layer's hottest worker has
// more than EPLB gives it, by EPLB's own rule; and where workers are of unequal
// speed, which EPLB knows nothing of, the slowest is faster.
func TestAgainstEPLB(t *testing.T) {
	data, err := os.ReadFile("testdata/eplb.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Speeds []float64
		Cases  []eplbCase
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	for _, c := range golden.Cases {
		for _, unequal := range []bool{false, true} {
			speeds, want, what := []float64{1}, c.Hottest, "equal"
			if unequal {
				speeds, want, what = golden.Speeds, c.Worst, "unequal"
			}
			var even, theirs, ideal, mean float64
			for l, load := range c.Load {
				d, p := c.place(t, load, speeds)
				got := evenly(load, p.Layers[0], speeds)
				f := d.Forecast(p)
				if unequal { // a copy's part is in proportion to its worker's speed
					got = f.Slowest
				}
				if got > want[l]*(1+1e-6) || unequal && got >= want[l] {
					t.Errorf("%s, %s workers, layer %d: %.1f, EPLB has %.1f", c.Name, what, l, got, want[l])
				}
				even, theirs = even+got, theirs+want[l]
				ideal, mean = ideal+f.Slowest, mean+total(load, speeds, c.GPUs)
			}
			n := float64(len(c.Load))
			t.Logf("%s, %s workers: slowest %.1f, EPLB %.1f, routed as router does %.1f, no less than %.1f",
				c.Name, what, even/n, theirs/n, ideal/n, mean/n)
		}
	}
}

// total is the time that workers need which all are busy to the end.
func total(load, speeds []float64, workers int) float64 {
	work, power := 0.0, 0.0
	for _, v := range load {
		work += v
	}
	for w := range workers {
		power += speeds[w%len(speeds)]
	}
	return work / power
}

// place places one layer in as many places as EPLB has.
func (c *eplbCase) place(t *testing.T, load, speeds []float64) (*Demand, *Plan) {
	t.Helper()
	d := &Demand{
		Layers: []Layer{{Experts: len(load), ExpertBytes: 1}}, Workers: workers(c.GPUs),
		Copies: 1, Load: Load{load},
	}
	for w := range d.Workers {
		d.Workers[w].Bytes = int64(c.Replicas / c.GPUs)
		d.Workers[w].Speed = speeds[w%len(speeds)]
	}
	p, err := d.Next(nil, "m")
	if err != nil {
		t.Fatal(err)
	}
	used := 0
	for w, s := range p.Layers[0] {
		if used += s.Len(); s.Len() > c.Replicas/c.GPUs {
			t.Fatalf("%s: worker %d has %d experts", c.Name, w, s.Len())
		}
	}
	if used > c.Replicas {
		t.Fatalf("%s: %d copies", c.Name, used)
	}
	return d, p
}
