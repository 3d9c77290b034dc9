package dispatch

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/conclave-serve/conclave/internal/obs"
	"github.com/conclave-serve/conclave/router"
)

// LastResort computes experts in this process. Its calls come from one goroutine
// at a time.
type LastResort interface {
	// Run computes an expert of a layer as workers do, for the given rows of x
	// [tokens, hidden] and their gate weights. The outputs [rows, hidden] are valid
	// until the next call.
	Run(
		ctx context.Context, layer, expert int, x []float32, rows []uint32, weights []float32,
	) ([]float32, error)
	// Release gives back what Run has taken: workers serve everything again.
	Release()
}

// here is what is computed by the last resort. All but the atomics is the caller's
// of Receive.
type here struct {
	x       []float32 // activations of a call, rounded to the wire
	raw     []byte
	used    bool // in this step
	since   time.Time
	said    time.Time // when the log was last told that it begins
	began   [2]int64  // the counters, then
	on      atomic.Bool
	broken  atomic.Bool // it failed, and is left alone until workers serve again
	experts atomic.Int64
	rows    atomic.Int64
}

// resorts reports whether experts may be computed here, should nobody answer for
// them.
func (d *Dispatcher) resorts() bool {
	return d.cfg.LastResort != nil && d.step.served && !d.here.broken.Load() &&
		d.fleet.ctx.Err() == nil
}

// LastResort reports whether experts are computed here now, or will be for
// whoever needs those that no worker serves.
func (d *Dispatcher) LastResort() bool {
	s := d.fleet.newest()
	if d.cfg.LastResort == nil || !s.served || d.here.broken.Load() {
		return false
	}
	return !s.table.Complete() || d.here.on.Load() && s.owed()
}

// owed reports whether some worker is late with an answer.
func (s *snapshot) owed() bool {
	for _, l := range s.lanes {
		if l != nil && l.behind.Load() > 0 {
			return true
		}
	}
	return false
}

// resort computes one expert of a flight that nobody is asked for who is not
// late, or tries to, and reports whether there was one. The caller looks around before
// the next: a worker may be back, or is asked again that was spared for this.
func (d *Dispatcher) resort(ctx context.Context, f *flight) bool {
	if !d.resorts() {
		return false
	}
	slot := f.route.Overdue()
	if slot < 0 {
		return false
	}
	d.beginResort(f)
	i := f.route.TakeHere(slot)
	c := &f.route.Calls[i]
	started := time.Now()
	out, err := d.computeHere(ctx, f, c)
	if trace := obs.StepFrom(ctx); trace != nil {
		trace.Hop(obs.Hop{
			Layer: f.layer, Micro: f.micro, Worker: "last resort", Rows: len(c.Tokens),
			Started: started, Took: time.Since(started), Compute: time.Since(started), Err: err,
		})
	}
	f.attempts = append(f.attempts, attempt{here: out})
	if err != nil {
		f.route.Failed(i)
		if ctx.Err() == nil {
			d.here.broken.Store(true)
			f.cause = err
			d.cfg.Log.Error("the last resort failed", "layer", f.layer, "expert", c.Experts[0], "err", err)
		}
		return true
	}
	f.route.Answered(i)
	d.here.experts.Add(1)
	d.here.rows.Add(int64(len(c.Rows)))
	return true
}

// computeHere computes the one expert of a call, with the rounding of a way to a
// worker and back.
func (d *Dispatcher) computeHere(
	ctx context.Context, f *flight, c *router.Call,
) ([]byte, error) {
	h, format := d.cfg.Hidden, d.cfg.Format
	row := h * format.Size()
	x := &d.here.x
	if n := len(c.Tokens) * h; cap(*x) < n {
		*x = make([]float32, n)
	}
	if cap(d.here.raw) < row {
		d.here.raw = make([]byte, row)
	}
	raw := d.here.raw[:row]
	for i, t := range c.Tokens {
		format.Encode(raw, f.x[int(t)*h:(int(t)+1)*h])
		format.Decode((*x)[i*h:(i+1)*h], raw)
	}
	y, err := d.cfg.LastResort.Run(
		ctx, f.layer, int(c.Experts[0]), (*x)[:len(c.Tokens)*h], c.Rows, c.Weights)
	if err != nil {
		return nil, err
	}
	first, n := len(f.here), len(c.Rows)*row
	f.here = slices.Grow(f.here, n)[:first+n]
	out := f.here[first:]
	format.Encode(out, y)
	return out, nil
}

// beginResort takes in that an expert is about to be computed here.
func (d *Dispatcher) beginResort(f *flight) {
	d.here.used = true
	if d.here.on.Swap(true) {
		return
	}
	d.here.since = time.Now()
	d.here.began = [2]int64{d.here.experts.Load(), d.here.rows.Load()}
	reason := f.at.table.Missing()
	if reason == "" {
		reason = "those who serve them are late or refuse"
	}
	level := slog.LevelDebug // of what was said a moment ago
	if d.here.since.Sub(d.here.said) > sayAgain {
		level, d.here.said = slog.LevelWarn, d.here.since
	}
	d.cfg.Log.Log(context.Background(), level, "last resort: experts are computed here",
		"layer", f.layer, "reason", reason)
}

// sayAgain is how often the log tells at most that the last resort begins: on a
// machine that has too much to do, workers are late for a moment again and again.
const sayAgain = 10 * time.Second

// rest takes in the end of a step. Once workers have answered a whole one, and owe
// nothing, the last resort gives back what it has taken.
func (d *Dispatcher) rest() {
	used := d.here.used
	d.here.used = false
	if used || !d.here.on.Load() {
		return
	}
	if s := d.fleet.newest(); !s.table.Complete() || s.owed() {
		return
	}
	d.here.on.Store(false)
	d.here.broken.Store(false)
	d.here.x, d.here.raw = nil, nil
	for i := range d.flights {
		d.flights[i].here = nil
	}
	d.cfg.LastResort.Release()
	d.cfg.Log.Info("last resort is over: workers serve every expert",
		"after", time.Since(d.here.since).Round(time.Millisecond),
		"experts", d.here.experts.Load()-d.here.began[0], "rows", d.here.rows.Load()-d.here.began[1])
}
