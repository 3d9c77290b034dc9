package coordinator

import (
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/shard"
)

// reporter tells the controller, wherever that runs, what this coordinator
// measures of experts and workers.
type reporter struct {
	model string
	load  func() dispatch.Load
	put   func(ctx context.Context, data []byte) error
	log   *slog.Logger

	steps float64       // of a second, when last looked
	last  *shard.Report // the one written last, and its encoding
	data  []byte
}

// reportEvery is the time between looks at the load, and bounds how long one
// waits for the registry.
const reportEvery = 5 * time.Second

// run reports until ctx ends.
func (r *reporter) run(ctx context.Context) {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.report(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// report writes what is measured now, or what was written last if that says the
// same, or if nothing has happened since: the registry has it, or has lost it.
func (r *reporter) report(ctx context.Context) {
	load := r.load()
	busy := load.Steps > r.steps*idle
	r.steps = load.Steps
	if next := newReport(r.model, load); busy && !alike(r.last, next) {
		data, err := next.Encode()
		if err != nil {
			r.log.Error("load not reported", "err", err)
			return
		}
		r.last, r.data = next, data
	}
	if r.data == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reportEvery)
	defer cancel()
	if err := r.put(ctx, r.data); err != nil && ctx.Err() != context.Canceled {
		r.log.Debug("load not reported", "err", err)
	}
}

// idle is how much of a rate is left after reportEvery in which nothing came, an
// eighth of its half-life, and a little.
const idle = 0.918

// newReport is what a load looks like in the registry.
func newReport(model string, load dispatch.Load) *shard.Report {
	r := &shard.Report{
		Model: model, Layers: make([]shard.LayerLoad, len(load.Layers)),
		Speeds: map[shard.WorkerID]float64{},
	}
	for l, layer := range load.Layers {
		r.Layers[l] = shard.LayerLoad{Rows: rounded(layer.Rows), Reads: rounded(layer.Reads)}
	}
	for id, w := range load.Workers {
		if w.Speed > 0 {
			r.Speeds[id] = round(w.Speed)
		}
	}
	return r
}

func rounded(rates []float32) []float32 {
	out := make([]float32, len(rates))
	for i, v := range rates {
		out[i] = float32(round(float64(v)))
	}
	return out
}

// least is the rate below which there is none: one in a quarter of an hour.
const least = 1e-3

// round keeps three significant digits, which is more than is known, so that JSON
// stays small.
func round(v float64) float64 {
	if !(v >= least) || math.IsInf(v, 1) {
		return 0
	}
	digits := 2 - int(math.Floor(math.Log10(v)))
	if digits < 0 {
		unit := math.Pow10(-digits)
		return math.Round(v/unit) * unit
	}
	unit := math.Pow10(digits)
	return math.Round(v*unit) / unit
}

// tolerance is by how much loads may differ that are planned for alike. Counts of
// a minute differ by some per cent by chance, and each report written stays in
// the registry's history.
const tolerance = 0.1

// alike reports whether b says nothing new after a.
func alike(a, b *shard.Report) bool {
	if a == nil || len(a.Layers) != len(b.Layers) || len(a.Speeds) != len(b.Speeds) {
		return false
	}
	for id, v := range b.Speeds {
		if w, ok := a.Speeds[id]; !ok || math.Abs(v-w) > tolerance*w {
			return false
		}
	}
	var sum, apart float64
	for l := range b.Layers {
		x, y := a.Layers[l], b.Layers[l]
		s, d := distance(x.Rows, y.Rows)
		t, e := distance(x.Reads, y.Reads)
		sum, apart = sum+s+t, apart+d+e
	}
	return apart <= tolerance*sum
}

// distance adds up a, and by how much b differs from it.
func distance(a, b []float32) (sum, apart float64) {
	if len(a) != len(b) {
		return 0, math.Inf(1)
	}
	for i, v := range a {
		sum += float64(v)
		apart += math.Abs(float64(v) - float64(b[i]))
	}
	return sum, apart
}
