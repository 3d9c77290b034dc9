package dispatch

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/conclave-serve/conclave/internal/wire"
)

const (
	// hearFor is about how long whoever waits for an answer reads a lane itself, up to twice that.
	// Whatever else happens meanwhile is noticed that much later.
	hearFor = 2 * time.Millisecond
	// promptWait is how soon after its request somebody waits for an answer who may read it: later,
	// the answer could have come before, and would count as slow.
	promptWait = 50 * time.Microsecond
	// promptWaits of these in a row make the listener leave a lane to whoever waits.
	promptWaits = 8
	// leftAlone is how long a lane may be without a reader, or up to twice that.
	leftAlone = 10 * time.Millisecond
)

// promptStream is a stream that somebody may read for a moment: one of the direct transport.
type promptStream interface {
	RecvWithin(m any, d time.Duration) (bool, error)
}

// ear is the receiving end of a lane. Its listener hears all the time, or leaves that to the
// dispatcher's caller as long as that one comes at once after each request: to be woken by another
// goroutine costs a third of a hop.
type ear struct {
	prompt  promptStream // nil: the listener hears everything
	prompts int          // in a row; the dispatcher's caller's

	left    atomic.Bool   // the listener leaves the lane alone
	turn    chan struct{} // buffer 1: it is the listener's turn again
	heard   atomic.Int64  // by the dispatcher's caller
	watched atomic.Bool   // the timer runs
	seen    atomic.Int64  // what heard was when it was set
	timer   *time.Timer

	mu       sync.Mutex     // whoever hears
	spare    *wire.Response // what the next answer is read into
	answered time.Time      // when the last one came
}

func (e *ear) init(s grpc.ClientStream) {
	e.prompt, _ = s.(promptStream)
	e.turn, e.spare = make(chan struct{}, 1), &wire.Response{}
	e.timer = time.AfterFunc(time.Hour, e.watch)
	e.timer.Stop()
}

// await is where the listener waits for its turn.
func (e *ear) await(ctx context.Context) {
	if !e.left.Load() {
		return
	}
	select {
	case <-e.turn:
	case <-ctx.Done():
	}
}

// resume makes the listener hear again.
func (e *ear) resume() {
	if !e.left.Swap(false) {
		return
	}
	select {
	case e.turn <- struct{}{}:
	default: // it has not taken the last one
	}
}

// watch is the timer's: nobody has read the lane for a while.
func (e *ear) watch() {
	n := e.heard.Load()
	if e.seen.Swap(n) != n {
		e.timer.Reset(leftAlone)
		return
	}
	e.watched.Store(false)
	e.resume()
}

// rest ends the timer; there is nobody left to hear.
func (e *ear) rest() {
	e.timer.Stop()
	e.resume()
}

// hearAtOnce reads the answer to a call that was just sent, and reports whether one came.
func (l *lane) hearAtOnce(c *call) bool {
	e := &l.ear
	if e.prompt == nil {
		return false
	}
	if time.Since(c.sent) > promptWait {
		e.prompts = 0
		e.resume()
		return false
	}
	if !e.left.Load() {
		if e.prompts++; e.prompts >= promptWaits {
			e.left.Store(true) // from when the listener has heard this one
			e.wake()
		}
		return false
	}
	if !e.mu.TryLock() {
		return false // the listener is at it
	}
	came, err := e.prompt.RecvWithin(e.spare, hearFor)
	if err == nil && came {
		err = l.hear()
	}
	e.mu.Unlock()
	if !came || err != nil {
		e.prompts = 0
		e.resume() // it learns of an error, too
		if err != nil {
			l.cut(err)
		}
		return false
	}
	e.heard.Add(1)
	e.wake()
	return true
}

// wake starts the timer unless it runs.
func (e *ear) wake() {
	if e.watched.CompareAndSwap(false, true) {
		e.seen.Store(e.heard.Load())
		e.timer.Reset(leftAlone)
	}
}

// hearAtOnce reads one of the lanes that owe an answer, if nothing else is to be done until wake.
// It reports whether an answer came.
func (d *Dispatcher) hearAtOnce(f *flight, wake time.Time) bool {
	var mine *attempt
	for i := range f.attempts {
		a := &f.attempts[i]
		if !a.live || a.lane == nil || a.call == nil {
			continue
		}
		if mine == nil || a.lane.ear.left.Load() {
			mine = a
		}
	}
	alone := !wake.IsZero() && time.Until(wake) < 2*hearFor
	for i := range d.flights {
		alone = alone || &d.flights[i] != f && d.flights[i].away
	}
	for i := range f.attempts { // one lane is read here, the others by their listeners
		if a := &f.attempts[i]; a.live && a.lane != nil && (a != mine || alone) {
			a.lane.ear.resume()
		}
	}
	if mine == nil || alone {
		return false
	}
	if !mine.lane.hearAtOnce(mine.call) {
		return false
	}
	select {
	case <-f.inbox.wake: // it is known
	default:
	}
	return true
}
