package coordinator

import (
	"math"
	"time"
)

// restraint keeps what is measured badly from moving experts to and fro: a rebalance must have
// been worth it for some time, and the sooner it follows another the more it must save.
type restraint struct {
	epoch uint64    // of the plan under which
	since time.Time // there has been something to gain; zero: there was not

	bar    float64   // what the next one has to save, as a part,
	raised time.Time // when the last one began
}

const (
	// lasting is how long there must be something to gain: as long as it takes for reports to
	// be others.
	lasting = reportEvery
	// A rebalance raises the bar to firstBar, or twice what it was, up to lastBar. It sinks to
	// half in barHalfLife, so that noise that looks like a gain every time moves experts once
	// in that time.
	firstBar, lastBar = 0.1, 0.5
	barHalfLife       = 5 * time.Minute
)

// allows reports whether what a look at the load calls for may be done now, and counts it as
// done if so.
func (r *restraint) allows(t *thought) bool {
	bar := r.bar * math.Exp2(-float64(t.at.Sub(r.raised))/float64(barHalfLife))
	if t.change == nil || t.change.Saving() < bar {
		r.since = time.Time{}
		return false
	}
	if r.since.IsZero() || r.epoch != t.epoch {
		r.since, r.epoch = t.at, t.epoch
	}
	if t.at.Sub(r.since) < lasting {
		return false
	}
	r.since = time.Time{}
	r.bar, r.raised = min(max(2*bar, firstBar), lastBar), t.at
	return true
}
