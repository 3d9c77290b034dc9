package direct

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// mindAfter is how long a handler may be at work before somebody listens in its place, or up to
// twice that.
const mindAfter = 10 * time.Millisecond

// minder looks after a connection while the handler of its lane computes and nobody reads: pings
// are answered, and a lane that is cut ends the stream's context. It costs a quick handler
// nothing but an atomic count: the timer is not set for each message.
type minder struct {
	link *link
	// turn counts the handler's doings: odd while it is at work.
	turn  atomic.Uint64
	armed atomic.Bool
	since atomic.Uint64 // the turn when the timer was set
	on    atomic.Bool   // it reads, or is about to
	over  atomic.Bool
	timer *time.Timer
}

func (m *minder) init(s *serverStream) {
	m.link = s.session.link
	m.timer = time.AfterFunc(time.Hour, m.fire)
	m.timer.Stop()
}

// start says that the handler has something to do.
func (m *minder) start() {
	turn := m.turn.Add(1)
	if m.armed.CompareAndSwap(false, true) {
		m.since.Store(turn)
		m.timer.Reset(mindAfter)
	}
}

// stop takes the right to read, for the handler.
func (m *minder) stop() {
	if m.turn.Load()%2 == 1 {
		m.turn.Add(1)
	}
	if m.on.Load() {
		m.link.interrupt()
		return
	}
	m.link.lock()
}

// end is stop when the handler has ended.
func (m *minder) end() {
	m.over.Store(true)
	m.stop()
	m.link.unlock()
	m.timer.Stop()
}

// fire is the timer's.
func (m *minder) fire() {
	turn := m.turn.Load()
	switch {
	case m.over.Load():
	case turn != m.since.Load(): // something has happened since
		m.since.Store(turn)
		m.timer.Reset(mindAfter)
	case turn%2 == 0: // nothing is asked
		m.armed.Store(false)
		if m.turn.Load() != turn && m.armed.CompareAndSwap(false, true) {
			m.timer.Reset(mindAfter)
		}
	default:
		m.mind(turn)
		m.since.Store(m.turn.Load())
		m.timer.Reset(mindAfter)
	}
}

// mind reads for a handler that is still at its turn.
func (m *minder) mind(turn uint64) {
	l := m.link
	m.on.Store(true)
	defer m.on.Store(false)
	if m.turn.Load() != turn || !l.reading.TryLock() {
		return
	}
	defer l.unlock()
	for m.turn.Load() == turn && l.w-l.r < len(l.buf) {
		if err := l.readAhead(len(l.buf)); err != nil {
			if !errors.Is(err, errHalted) && !errors.Is(err, context.DeadlineExceeded) {
				_ = l.fail(err)
			}
			return
		}
	}
}
