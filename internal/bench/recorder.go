package bench

import (
	"context"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/coordinator/forward"
)

// Split is where the time of a step went, in seconds. The parts are cut from one clock.
type Split struct {
	// Attention has the projections, the norms and the sums between.
	Attention float64 `json:"attention"`
	Gate      float64 `json:"gate"`
	// Hop is what the network and both ends of the lanes take: encoding, waiting for answers as
	// far as no worker computes, queues.
	Hop float64 `json:"hop"`
	// Expert is waiting while workers compute, by their own clocks.
	Expert float64 `json:"expert"`
	// Combine adds up what the experts say.
	Combine float64 `json:"combine"`
	// MLP is dense layers and shared experts. While the latter run the hop may be under way: what
	// is left of it then counts as Hop and Expert.
	MLP      float64 `json:"mlp"`
	Head     float64 `json:"head"`
	Sampling float64 `json:"sampling"`
	// Other is the embedding, and what the engine does between steps.
	Other float64 `json:"other"`
}

// Sum is all parts.
func (s *Split) Sum() (sum float64) {
	for _, p := range s.parts() {
		sum += p.seconds
	}
	return sum
}

// part is one of a Split, by name.
type part struct {
	name    string
	seconds float64
}

func (s *Split) parts() []part {
	return []part{
		{"attention", s.Attention}, {"gate", s.Gate}, {"hop", s.Hop}, {"expert", s.Expert},
		{"combine", s.Combine}, {"mlp", s.MLP}, {"head", s.Head}, {"sampling", s.Sampling},
		{"other", s.Other},
	}
}

// Moments of a step besides the phases of its forward pass.
const (
	answered = forward.Phases + iota // waiting for answers is over
	sampled
	between // from there to the next forward pass
	moments
)

// counts is what grows while steps run.
type counts struct {
	hops           dispatch.Hops
	objects, bytes uint64 // allocated
	collections    uint64
}

// recorder sees the steps of an engine, and cuts the time of those in a window into parts.
type recorder struct {
	model *forward.Model
	hops  func() dispatch.Hops

	mu sync.Mutex // of the caller, and the engine's loop
	window
}

// window is some steps in a row of so many rows each.
type window struct {
	rows, skip, steps int // count steps of so many rows, but for the first ones
	decoding          bool
	hold              chan struct{} // steps wait until it is closed
	done              func()        // told when the window has closed

	seen    int // steps that fit, those to skip included
	open    bool
	last    time.Time
	parts   [moments]time.Duration
	began   time.Time
	entered time.Time
	wall    time.Duration // 0 until the window has closed
	each    []float64     // seconds of each step
	from    counts
	to      counts
	samples []metrics.Sample
}

// Names of what the runtime counts.
const (
	allocObjects  = "/gc/heap/allocs:objects"
	allocBytes    = "/gc/heap/allocs:bytes"
	gcCollections = "/gc/cycles/total:gc-cycles"
)

// watch begins a window of so many steps of so many rows, after some that are skipped. Decoding
// says that every row is a sequence's newest. Steps wait until hold is closed; done is told when
// the window has closed.
func (r *recorder) watch(rows, skip, steps int, decoding bool, hold chan struct{}, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.window = window{
		rows: rows, skip: skip, steps: steps, decoding: decoding, hold: hold, done: done,
		each:    make([]float64, 0, steps),
		samples: []metrics.Sample{{Name: allocObjects}, {Name: allocBytes}, {Name: gcCollections}},
	}
}

// Step implements engine.Model.
func (r *recorder) Step(ctx context.Context, rows []forward.Row, parts int) ([]float32, error) {
	r.mark(between)
	if err := r.enter(ctx, rows); err != nil {
		return nil, err
	}
	return r.model.Step(ctx, rows, parts)
}

// enter opens or closes the window where a step begins.
func (r *recorder) enter(ctx context.Context, rows []forward.Row) error {
	r.mu.Lock()
	hold := r.hold
	r.mu.Unlock()
	select {
	case <-hold:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	switch {
	case r.wall > 0: // closed
	case r.open:
		r.each = append(r.each, now.Sub(r.entered).Seconds())
		r.entered = now
		if len(r.each) == r.steps || !r.fits(rows) {
			r.open, r.wall = false, now.Sub(r.began)
			r.to = r.count()
			r.done()
		}
	case r.fits(rows):
		if r.seen++; r.seen > r.skip {
			r.from = r.count()
			now = time.Now()
			r.open, r.began, r.entered, r.last = true, now, now, now
		}
	}
	return nil
}

func (r *recorder) fits(rows []forward.Row) bool {
	if len(rows) != r.rows {
		return false
	}
	for i := range rows {
		if r.decoding && !rows[i].Logits {
			return false
		}
	}
	return true
}

// mark counts the time since the last mark for a moment.
func (r *recorder) mark(moment int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open {
		now := time.Now()
		r.parts[moment] += now.Sub(r.last)
		r.last = now
	}
}

func (r *recorder) phase(p forward.Phase)      { r.mark(int(p)) }
func (r *recorder) answered()                  { r.mark(answered) }
func (r *recorder) onStep(_ engine.StepReport) { r.mark(sampled) }

// count reads what grows.
func (r *recorder) count() counts {
	metrics.Read(r.samples)
	return counts{
		hops: r.hops(), objects: r.samples[0].Value.Uint64(), bytes: r.samples[1].Value.Uint64(),
		collections: r.samples[2].Value.Uint64(),
	}
}

// split returns the parts of a step, on average over the window.
func (r *recorder) split() Split {
	of := func(moments ...int) (seconds float64) {
		for _, m := range moments {
			seconds += r.parts[m].Seconds()
		}
		return seconds / float64(max(len(r.each), 1))
	}
	wait := of(answered)
	compute := wait * computing(r.from.hops, r.to.hops)
	return Split{
		Attention: of(int(forward.PhaseAttention)), Gate: of(int(forward.PhaseGate)),
		Hop:    of(int(forward.PhaseSend)) + wait - compute,
		Expert: compute, Combine: of(int(forward.PhaseReceive)), MLP: of(int(forward.PhaseMLP)),
		Head: of(int(forward.PhaseHead)), Sampling: of(sampled),
		Other: of(int(forward.PhaseEmbed), between),
	}
}

// computing returns which share of calls workers computed.
func computing(from, to dispatch.Hops) float64 {
	compute := to.Compute - from.Compute
	took := compute + to.Network - from.Network + to.Queue - from.Queue
	if took <= 0 {
		return 0
	}
	return compute.Seconds() / took.Seconds()
}
