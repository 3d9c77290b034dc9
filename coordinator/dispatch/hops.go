package dispatch

import (
	"sync/atomic"
	"time"

	"github.com/conclave-serve/conclave/internal/wire"
)

// Hops sums where the time of a worker's calls went.
type Hops struct {
	Calls, Failures         int64
	Network, Queue, Compute time.Duration
}

// hopCounters is the live form of Hops; it outlives the worker's lanes and
// restarts, but not its membership.
type hopCounters struct {
	calls, failures         atomic.Int64
	network, queue, compute atomic.Int64
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
		Network: time.Duration(h.network.Load()),
		Queue:   time.Duration(h.queue.Load()),
		Compute: time.Duration(h.compute.Load()),
	}
}
