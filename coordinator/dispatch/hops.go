package dispatch

import (
	"sync/atomic"
	"time"

	"github.com/conclave-serve/conclave/internal/wire"
)

// Totals counts what was asked for, and done about calls that failed or were late,
// over all workers that there have ever been.
type Totals struct {
	// Steps are those that began, Experts those that calls asked for, Bytes the size
	// of these: what their workers read.
	Steps, Experts, Bytes int64
	// Calls are those that went out, Retries those that went to others because
	// they failed or were late, Hedges those that others were asked for too before
	// they were late, Ejections how often a worker was left alone because it kept
	// being late.
	Calls, Retries, Hedges, Ejections int64
	// LastResortExperts is how many times an expert was computed here for want of a
	// worker, LastResortRows for how many rows in all.
	LastResortExperts, LastResortRows int64
}

// totalCounters is the live form of Totals.
type totalCounters struct {
	steps, calls, experts, bytes atomic.Int64
	retries, hedges, ejections   atomic.Int64
}

// called counts a call for so many experts of a size.
func (t *totalCounters) called(experts int, each int64) {
	t.calls.Add(1)
	t.experts.Add(int64(experts))
	t.bytes.Add(int64(experts) * each)
}

// Hops sums where the time of a worker's calls went.
type Hops struct {
	// Calls are those that the worker has answered, Failures the lanes to it that
	// broke.
	Calls, Failures int64
	// Retries, Hedges and Ejections are as in Totals, of this worker.
	Retries, Hedges, Ejections int64
	// Ejected is true while it is.
	Ejected                 bool
	Network, Queue, Compute time.Duration
	// LastFailure says why the last lane to it broke, and LastFailureAt when; empty
	// and zero if none has.
	LastFailure   string
	LastFailureAt time.Time
}

// hopCounters is the live form of Hops.
type hopCounters struct {
	calls, failures            atomic.Int64
	retries, hedges, ejections atomic.Int64
	network, queue, compute    atomic.Int64
}

// span is where the time of one call went; the rest of took is the network's.
type span struct{ took, queue, compute time.Duration }

// newSpan is that of a call that took so long. behind, if positive, is how much
// of that it was on its way behind an earlier call of the lane, whose answer had
// not come: a queue, too.
func newSpan(r *wire.Response, took, behind time.Duration) span {
	s := span{took: took}
	if r.Received <= r.Started && r.Started <= r.Finished &&
		r.Finished-r.Received <= uint64(took) {
		s.queue, s.compute = time.Duration(r.Started-r.Received), time.Duration(r.Finished-r.Started)
	} // else the worker's clock is nonsense and it all counts as network
	s.queue += min(max(behind, 0), took-s.queue-s.compute)
	return s
}

// add counts a call.
func (h *hopCounters) add(s span) {
	h.calls.Add(1)
	h.queue.Add(int64(s.queue))
	h.compute.Add(int64(s.compute))
	h.network.Add(int64(s.took - s.queue - s.compute))
}

func (h *hopCounters) snapshot() Hops {
	return Hops{
		Calls: h.calls.Load(), Failures: h.failures.Load(),
		Retries: h.retries.Load(), Hedges: h.hedges.Load(), Ejections: h.ejections.Load(),
		Network: time.Duration(h.network.Load()),
		Queue:   time.Duration(h.queue.Load()),
		Compute: time.Duration(h.compute.Load()),
	}
}
