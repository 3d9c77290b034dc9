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

// add counts a call that took roundTrip. behind, if positive, is how much of
// that it was on its way behind an earlier call of the lane, whose answer had
// not come: a queue, too.
func (h *hopCounters) add(r *wire.Response, roundTrip, behind time.Duration) {
	var queue, compute time.Duration
	if r.Received <= r.Started && r.Started <= r.Finished &&
		r.Finished-r.Received <= uint64(roundTrip) {
		queue, compute = time.Duration(r.Started-r.Received), time.Duration(r.Finished-r.Started)
	} // else the worker's clock is nonsense and it all counts as network
	queue += min(max(behind, 0), roundTrip-queue-compute)
	h.calls.Add(1)
	h.queue.Add(int64(queue))
	h.compute.Add(int64(compute))
	h.network.Add(int64(roundTrip - queue - compute))
}

func (h *hopCounters) snapshot() Hops {
	return Hops{
		Calls: h.calls.Load(), Failures: h.failures.Load(),
		Network: time.Duration(h.network.Load()),
		Queue:   time.Duration(h.queue.Load()),
		Compute: time.Duration(h.compute.Load()),
	}
}
