package dispatch

import (
	"sync"
	"time"

	"github.com/conclave-serve/conclave/internal/wire"
)

// call is one request on its way, and its answer.
type call struct {
	lane *lane
	req  wire.Request
	// inbox gets the call when it is over, unless it is given up before.
	inbox   *inbox
	attempt int // the flight's number for it
	rows    int
	bytes   int64 // of the experts
	sent    time.Time
	asked   int64         // sent, as the router reads it
	limit   time.Duration // after which it is late
	// timer cuts the lane unless it is stopped; it runs while the answer is due.
	timer *time.Timer

	// These are the lane's, under its lock, until the inbox has the call.
	late, given bool           // it is late; it was given up
	resp        *wire.Response // changes hands with the listener's
	span        span
	err         error // why there is no answer
}

// inbox collects the calls of a flight that are over.
type inbox struct {
	mu    sync.Mutex
	over  []*call
	spare []*call
	wake  chan struct{} // buffer 1
}

// put adds a call.
func (b *inbox) put(c *call) {
	b.mu.Lock()
	b.over = append(b.over, c)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default: // nobody has looked since the last one
	}
}

// take returns the calls that came since; they are valid until it is called
// again.
func (b *inbox) take() []*call {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over, b.spare = b.spare[:0], b.over
	return b.spare
}
