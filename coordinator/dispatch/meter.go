package dispatch

import (
	"math"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// HalfLife is the age at which what was counted weighs half in a Load: means
// are over the last minute or so.
const HalfLife = 40 * time.Second

// Load is what happened lately, as means over time in which the past counts less
// the older it is (HalfLife).
type Load struct {
	// Layers are how often experts were wanted, empty for dense ones.
	Layers []shard.LayerLoad
	// Workers are the present ones.
	Workers map[shard.WorkerID]WorkerLoad
	// Steps, Calls, Experts and Bytes are those of a second: steps begun, calls that
	// went out, the experts that these asked for, and the bytes of those.
	Steps, Calls, Experts, Bytes float64
}

// WorkerLoad is what happened with one worker lately.
type WorkerLoad struct {
	// Speed is how many bytes of experts it works through in a second of
	// computing, 0 if it has not been measured.
	Speed float64
	// Calls are answers in a second; Network, Queue and Compute are the seconds
	// that they took, in a second.
	Calls, Network, Queue, Compute float64
}

// meter counts what is wanted of whom. The step loop counts under the lock, once
// a layer; whoever reads pays for the ageing.
type meter struct {
	mu     sync.Mutex
	layers [][]wanted // by layer and expert
	aging  aging
	totals [4]aged // steps, calls, experts, bytes
	past   map[shard.WorkerID]*workerPast
}

// wanted counts how often one expert was wanted.
type wanted struct {
	rows, reads       uint64 // since the last reading
	oldRows, oldReads float64
}

// aged is a count that grows, and what of its growth still weighs.
type aged struct{ seen, weight float64 }

// workerPast is what still weighs of a worker's calls.
type workerPast struct{ calls, network, queue, compute aged }

// aging is how much of the time since the start still weighs.
type aging struct {
	last   time.Time
	weight float64 // seconds
	// keep and add are the last advance's: old weights are multiplied by keep, and
	// what has come since by add, as if it had come evenly.
	keep, add float64
}

// advance ages everything to now. The sum of decayed time grows to HalfLife ÷ ln 2,
// 58 s; before that, means are over the time that there was.
func (a *aging) advance(now time.Time) {
	passed := now.Sub(a.last).Seconds()
	if passed <= 0 {
		a.keep, a.add = 1, 1
		return
	}
	rate := math.Ln2 / HalfLife.Seconds()
	a.keep = math.Exp(-rate * passed)
	a.add = (1 - a.keep) / (rate * passed)
	a.weight, a.last = a.weight*a.keep+passed*a.add, now
}

// rate takes in that a count has come to total, and returns its growth per second.
func (a *aging) rate(c *aged, total float64) float64 {
	c.weight = c.weight*a.keep + (total-c.seen)*a.add
	c.seen = total
	return a.mean(c.weight)
}

func (a *aging) mean(weight float64) float64 {
	if a.weight <= 0 {
		return 0
	}
	return weight / a.weight
}

func newMeter(experts []int, now time.Time) *meter {
	m := &meter{
		layers: make([][]wanted, len(experts)), aging: aging{last: now},
		past: map[shard.WorkerID]*workerPast{},
	}
	for l, n := range experts {
		m.layers[l] = make([]wanted, n)
	}
	return m
}

// count takes in the experts that a layer of a step wants. An expert is read once, also
// where replicas share its rows: what is wanted must not depend on who serves it, or
// placement by load would feed on itself.
func (m *meter) count(layer int, slots []router.Slot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	experts := m.layers[layer]
	for i := range slots {
		w := &experts[slots[i].Expert]
		w.rows += uint64(slots[i].Count)
		if i == 0 || slots[i].Expert != slots[i-1].Expert {
			w.reads++
		}
	}
}

// Load returns what happened lately. It may be called as often as one likes.
func (d *Dispatcher) Load() Load {
	hops, speeds := d.Hops(), d.Speeds()
	totals := d.Totals()
	m := d.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	m.aging.advance(time.Now())
	out := Load{Layers: m.experts(), Workers: m.workers(hops, speeds)}
	for i, of := range []struct {
		count int64
		rate  *float64
	}{
		{totals.Steps, &out.Steps}, {totals.Calls, &out.Calls},
		{totals.Experts, &out.Experts}, {totals.Bytes, &out.Bytes},
	} {
		*of.rate = m.aging.rate(&m.totals[i], float64(of.count))
	}
	return out
}

// experts ages the counts of experts and returns their rates.
func (m *meter) experts() []shard.LayerLoad {
	out := make([]shard.LayerLoad, len(m.layers))
	a := &m.aging
	for l, experts := range m.layers {
		if len(experts) == 0 {
			continue
		}
		load := shard.LayerLoad{
			Rows: make([]float32, len(experts)), Reads: make([]float32, len(experts)),
		}
		for e := range experts {
			w := &experts[e]
			w.oldRows = w.oldRows*a.keep + float64(w.rows)*a.add
			w.oldReads = w.oldReads*a.keep + float64(w.reads)*a.add
			w.rows, w.reads = 0, 0
			load.Rows[e] = float32(a.mean(w.oldRows))
			load.Reads[e] = float32(a.mean(w.oldReads))
		}
		out[l] = load
	}
	return out
}

// workers ages the counts of workers and returns their rates. Those that have
// left are forgotten.
func (m *meter) workers(
	hops map[shard.WorkerID]Hops, speeds map[shard.WorkerID]float64,
) map[shard.WorkerID]WorkerLoad {
	out := make(map[shard.WorkerID]WorkerLoad, len(hops))
	a := &m.aging
	for id, h := range hops {
		p := m.past[id]
		if p == nil || float64(h.Calls) < p.calls.seen { // new, or here again
			p = &workerPast{}
			m.past[id] = p
		}
		out[id] = WorkerLoad{
			Speed: speeds[id], Calls: a.rate(&p.calls, float64(h.Calls)),
			Network: a.rate(&p.network, h.Network.Seconds()),
			Queue:   a.rate(&p.queue, h.Queue.Seconds()),
			Compute: a.rate(&p.compute, h.Compute.Seconds()),
		}
	}
	for id := range m.past {
		if _, here := hops[id]; !here {
			delete(m.past, id)
		}
	}
	return out
}

// Speeds returns how many bytes of experts each present worker works through in a
// second of computing. Those that have not been measured are left out.
func (d *Dispatcher) Speeds() map[shard.WorkerID]float64 {
	now := d.epoch.at(time.Now())
	d.fleet.mu.Lock()
	defer d.fleet.mu.Unlock()
	out := make(map[shard.WorkerID]float64, len(d.fleet.peers))
	for id, p := range d.fleet.peers {
		if speed, _ := p.record.state(now); speed > 0 {
			out[id] = speed
		}
	}
	return out
}
