package engine

import (
	"context"
	"errors"
	"sync"
	"time"
)

// mailbox passes events from the engine, which must not wait, to a caller, who
// may be slow. It is bounded by the request's own MaxTokens.
type mailbox struct {
	mu    sync.Mutex
	queue []Event
	ready chan struct{} // holds a token while the queue may have something
}

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

func (m *mailbox) put(e Event) {
	m.mu.Lock()
	m.queue = append(m.queue, e)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// take waits for events and exchanges them for the storage of those taken
// before.
func (m *mailbox) take(before []Event) []Event {
	<-m.ready
	clear(before)
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.queue
	m.queue = before[:0]
	return taken
}

// pump delivers events to out until the last one. Once ctx or the engine has
// ended it waits for the caller no more: from the first event that does not
// fit, all are dropped, and the last one says that the stream was cut.
func (m *mailbox) pump(ctx context.Context, stopping <-chan struct{}, out chan Event) {
	defer close(out)
	var batch []Event
	cut := false
	for {
		batch = m.take(batch)
		for _, e := range batch {
			cut = cut || !deliver(ctx, stopping, out, e)
			if e.Finish == "" {
				continue
			}
			if cut {
				deliverCut(ctx, out)
			}
			return
		}
	}
}

// deliver sends e and reports whether it did.
func deliver(ctx context.Context, stopping <-chan struct{}, out chan<- Event, e Event) bool {
	select {
	case out <- e:
		return true
	default:
	}
	select {
	case out <- e:
		return true
	case <-ctx.Done():
	case <-stopping:
	}
	return false
}

// closeGrace is how long Close waits for a caller who is not reading to make
// room for the last event. One who reads takes microseconds.
const closeGrace = time.Second

// deliverCut ends a stream whose caller has not taken its events. If the caller
// has gone, or does not read, the last event takes the place of an older one;
// nobody else sends to out.
func deliverCut(ctx context.Context, out chan Event) {
	last := Event{Token: -1, Finish: FinishError, Err: ErrDraining}
	switch err := ctx.Err(); {
	case errors.Is(err, context.DeadlineExceeded):
		last.Err = ErrDeadline
	case err != nil:
		last = Event{Token: -1, Finish: FinishCancelled}
	}
	timer := time.NewTimer(closeGrace)
	defer timer.Stop()
	select {
	case out <- last:
		return
	case <-ctx.Done():
	case <-timer.C:
	}
	select {
	case <-out:
	default: // the caller has just taken one
	}
	out <- last
}
