package dispatch

import (
	"strings"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/router"
)

// record is what is known of a worker from its calls. It outlives the worker's
// lanes and restarts, but not its membership.
type record struct {
	hops hopCounters

	mu     sync.Mutex
	pace   router.Pace
	health router.Health
	// Why and when the last lane broke.
	failure  string
	failedAt time.Time
}

// epoch is where times of router's kind are counted from.
type epoch time.Time

// at is t as router reads it: never 0, which means none there.
func (e epoch) at(t time.Time) int64 { return max(int64(t.Sub(time.Time(e))), 1) }

// limits says how long a call with so many rows, which goes out now, may take: 0 if
// nothing is known of the worker.
func (r *record) limits(rows int, now int64, l router.Limits) (hedge, deadline time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.health.Asked(now)
	p99 := r.pace.P99(rows)
	if p99 == 0 {
		return 0, 0
	}
	h, d := l.For(p99)
	return time.Duration(h), time.Duration(d)
}

// p99 is what 99 of 100 calls with so many rows take, 0 if nothing is known.
func (r *record) p99(rows int) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pace.P99(rows)
}

// answered takes in the answer to a call, for which so many bytes of experts were
// worked through; 0 for a refusal, which says nothing of how long work takes.
func (r *record) answered(c *call, bytes int64) {
	r.hops.add(c.span)
	r.mu.Lock()
	defer r.mu.Unlock()
	if bytes > 0 {
		r.pace.Answered(c.rows, int64(c.span.took))
		r.pace.Worked(bytes, int64(c.span.compute))
	}
	if c.span.took <= c.limit {
		r.health.Answered()
	} else {
		r.health.Late(c.asked + int64(c.span.took))
	}
}

// missed takes in that the worker is late, and reports whether that ejects it.
func (r *record) missed(now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.health.Missed(now) {
		return false
	}
	r.hops.ejections.Add(1)
	return true
}

// state is what routing should know of the worker.
func (r *record) state(now int64) (speed float64, usable bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pace.Speed(), r.health.Usable(now)
}

func (r *record) ejected() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.health.Ejected()
}

// renewed takes in that the worker has a new lane.
func (r *record) renewed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.health.Renewed()
}

// relax moves the measured speed a little towards that of the others.
func (r *record) relax(mean float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pace.Relax(mean)
}

// maxFailureBytes bounds what is remembered of a failure: it may be in a worker's
// words.
const maxFailureBytes = 200

// broke takes in that a lane to the worker has broken.
func (r *record) broke(cause error, now time.Time) {
	r.hops.failures.Add(1)
	text := "unknown"
	if cause != nil {
		text = cause.Error()
	}
	if len(text) > maxFailureBytes {
		text = strings.ToValidUTF8(text[:maxFailureBytes], "") + "…"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure, r.failedAt = text, now
}

// lastFailure says why and when the last lane broke.
func (r *record) lastFailure() (why string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure, r.failedAt
}
