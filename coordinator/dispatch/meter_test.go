package dispatch

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

func near(got, want float64) bool { return math.Abs(got-want) <= 0.01*math.Abs(want) }

// A steady rate is measured as it is from the first reading on, however often one
// reads; when it ends, half of it weighs after the half-life.
func TestAging(t *testing.T) {
	start := time.Unix(0, 0)
	for _, every := range []time.Duration{time.Second, 7 * time.Second, 50 * time.Second} {
		a, c := aging{last: start}, aged{}
		now, total, rate := start, 0.0, 0.0
		for range 20 {
			now = now.Add(every)
			total += 3 * every.Seconds()
			a.advance(now)
			if rate = a.rate(&c, total); !near(rate, 3) {
				t.Fatalf("read every %v: rate %v after %v, want 3", every, rate, now.Sub(start))
			}
		}
		for range 30 { // so long that the start does not matter
			now = now.Add(HalfLife)
			total += 3 * HalfLife.Seconds()
			a.advance(now)
			a.rate(&c, total)
		}
		now = now.Add(HalfLife)
		a.advance(now)
		if rate = a.rate(&c, total); !near(rate, 1.5) {
			t.Errorf("read every %v: rate %v a half-life after the end, want 1.5", every, rate)
		}
	}
	// Two readings at once divide by no time.
	a, c := aging{last: start}, aged{}
	a.advance(start)
	if got := a.rate(&c, 5); got != 0 {
		t.Errorf("rate %v in no time, want 0", got)
	}
}

// The experts that a layer wants are counted by rows and by reads, and those of
// other layers are not.
func TestMeterCountsExperts(t *testing.T) {
	start := time.Unix(0, 0)
	m := newMeter([]int{0, 4, 4}, start)
	// Replicas share the rows of expert 1.
	slots := []router.Slot{
		{Expert: 1, Count: 5}, {Expert: 1, From: 5, Count: 4}, {Expert: 3, Count: 1},
	}
	m.count(1, slots)
	m.count(1, slots[2:])
	if n := testing.AllocsPerRun(100, func() { m.count(2, slots) }); n > 0 {
		t.Errorf("counting allocates %v times", n)
	}
	m.aging.advance(start.Add(time.Second))
	got := m.experts()
	if len(got) != 3 || got[0].Rows != nil || len(got[1].Rows) != 4 || len(got[1].Reads) != 4 {
		t.Fatalf("rates %+v", got)
	}
	for e, want := range [][2]float64{{0, 0}, {9, 1}, {0, 0}, {2, 2}} {
		if r, n := float64(got[1].Rows[e]), float64(got[1].Reads[e]); !near(r, want[0]) || !near(n, want[1]) {
			t.Errorf("expert %d: %v rows in %v reads, want %v", e, r, n, want)
		}
	}
}

// Workers that leave are forgotten; one that comes back begins anew.
func TestMeterForgetsWorkers(t *testing.T) {
	start := time.Unix(0, 0)
	m := newMeter(nil, start)
	at := func(second int, hops map[shard.WorkerID]Hops) map[shard.WorkerID]WorkerLoad {
		m.aging.advance(start.Add(time.Duration(second) * time.Second))
		return m.workers(hops, map[shard.WorkerID]float64{"a": 7})
	}
	got := at(1, map[shard.WorkerID]Hops{
		"a": {Calls: 10, Network: time.Second, Queue: 2 * time.Second, Compute: 4 * time.Second}, "b": {},
	})
	if w := got["a"]; len(got) != 2 || w.Speed != 7 || !near(w.Calls, 10) || !near(w.Network, 1) ||
		!near(w.Queue, 2) || !near(w.Compute, 4) {
		t.Errorf("workers %+v", got)
	}
	if got = at(2, map[shard.WorkerID]Hops{"b": {}}); len(got) != 1 || len(m.past) != 1 {
		t.Errorf("workers %+v, remembered %+v, want only b", got, m.past)
	}
	got = at(3, map[shard.WorkerID]Hops{"a": {Calls: 3}})
	if v := got["a"].Calls; v < 1 || v > 1.1 { // the last second weighs a little more
		t.Errorf("back with 3 calls in 3 s: %v a second", v)
	}
}

// What a layer does shows in the totals and in the load.
func TestLoad(t *testing.T) {
	r := newRig(t, func(c *Config) { c.ExpertBytes = []int64{0, 100} })
	r.serve(startFake(t, "a"), 0, 1)
	r.serve(startFake(t, "b"), 2, 3)
	r.awaitLanes()
	r.check()
	totals := r.d.Totals()
	if totals.Calls != 2 || totals.Experts != 4 || totals.Bytes != 400 || totals.Steps != 1 {
		t.Errorf("totals %+v", totals)
	}
	load := r.d.Load()
	layer := load.Layers[1]
	times := func(e int) float64 { return float64(layer.Rows[e] / layer.Reads[e]) }
	if len(layer.Rows) != testExperts || !near(times(2), 3) || !near(times(3), 2) {
		t.Errorf("experts %+v", layer)
	}
	if len(load.Workers) != 2 || load.Workers["a"].Calls <= 0 || load.Steps <= 0 || !near(load.Bytes, 100*load.Experts) {
		t.Errorf("load %+v", load)
	}
}

// Of a failure, so much is remembered as a page has room for.
func TestLastFailure(t *testing.T) {
	var r record
	if why, at := r.lastFailure(); why != "" || !at.IsZero() {
		t.Errorf("a failure before any: %q at %v", why, at)
	}
	now := time.Unix(5, 0)
	r.broke(errors.New(strings.Repeat("ü", maxFailureBytes)), now)
	why, at := r.lastFailure()
	if len(why) > maxFailureBytes+len("…") || !strings.HasSuffix(why, "ü…") || at != now {
		t.Errorf("%d bytes of failure at %v", len(why), at)
	}
	if r.broke(nil, now); r.hops.failures.Load() != 2 {
		t.Errorf("%d failures, want 2", r.hops.failures.Load())
	}
}

// BenchmarkCount is what measuring adds to a layer of one token, and of a batch
// that wants every expert.
func BenchmarkCount(b *testing.B) {
	slots := make([]router.Slot, 256)
	for e := range slots {
		slots[e] = router.Slot{Expert: uint32(e), Count: 2}
	}
	m := newMeter([]int{256}, time.Now())
	for name, n := range map[string]int{"experts=8": 8, "experts=256": 256} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.count(0, slots[:n])
			}
		})
	}
}
