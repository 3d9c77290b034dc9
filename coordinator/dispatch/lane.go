package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/conclave-serve/conclave/internal/wire"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
	"github.com/conclave-serve/conclave/shard"
)

// maxCalls is how many requests may be on their way on a lane: those of all
// flights, asked again once, and some that were given up. A worker that leaves
// more unanswered gets none.
const maxCalls = 4 * Flights

// maxDescription bounds what a worker says of itself: like its record in the registry, some
// kilobytes for a large model. The codec takes no more in any case.
const maxDescription = 512 << 10

// lane is an open stream to one worker. The dispatcher's caller sends on it, and
// the worker answers in the order of the requests; a goroutine of the lane
// listens for the answers, so that a lane that breaks between requests is known
// to be broken, and late answers that nobody waits for any more are taken off it.
type lane struct {
	worker string
	conn   connection
	stream grpc.ClientStream
	// ctx ends when the lane is of no more use; its cause says why.
	ctx    context.Context
	cancel context.CancelCauseFunc
	record *record
	// stuck cuts the lane unless it is stopped; it runs while a request waits for
	// the transport to take it.
	stuck *time.Timer

	ear      ear
	buffers  wire.Buffers
	listened chan struct{} // closed when the listener has ended
	// behind is the number of requests on their way that are late, were asked of others
	// too, or given up.
	behind  atomic.Int32
	doubted atomic.Bool // its answers were, which was said

	mu    sync.Mutex
	calls []*call // all that were ever made
	idle  []*call
	due   []*call // on their way, in the order of their answers
	dead  bool    // the listener has ended, or is about to
}

var (
	// errLaneTimeout is why a lane was cut when its worker did not answer in
	// time.
	errLaneTimeout = errors.New("no answer within the call timeout")
	errStuck       = errors.New("it takes no requests any more")
	errUnasked     = errors.New("an answer came that nobody had asked for")
	errHungUp      = errors.New("it ended the stream")
	// errCongested is why a lane that is sound gets no more requests.
	errCongested = errors.New("too many requests are without an answer")
)

// openLane connects to a worker, checks that it serves the expected
// checkpoint, and opens its stream. The lane lives until ctx ends or it is
// cut; it must be closed.
func openLane(ctx context.Context, cfg *Config, id, addr string, r *record) (*lane, error) {
	l := &lane{worker: id, record: r, listened: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	var err error
	if l.conn, err = connect(l.ctx, cfg, addr); err != nil {
		l.cut(err)
		return nil, fmt.Errorf("dial worker %s at %s: %w", id, addr, err)
	}
	if err := l.handshake(cfg); err != nil {
		l.cut(err)
		_ = l.conn.Close() // nothing is pending on it
		return nil, fmt.Errorf("open lane to worker %s at %s: %w", id, addr, err)
	}
	l.stuck = time.AfterFunc(time.Hour, func() { l.cut(errStuck) })
	l.stuck.Stop()
	r.renewed()
	l.ear.init(l.stream)
	go l.listen()
	return l, nil
}

func (l *lane) handshake(cfg *Config) error {
	client := conclavev1.NewExpertServiceClient(l.conn)
	ctx, cancel := context.WithTimeout(l.ctx, cfg.CallTimeout)
	defer cancel()
	is, err := client.Describe(ctx, &conclavev1.DescribeRequest{},
		grpc.MaxCallRecvMsgSize(maxDescription))
	if err != nil {
		return err
	}
	if is.GetModel() != cfg.Model {
		theirs, experts := shard.SplitModel(is.GetModel())
		own, ownExperts := shard.SplitModel(cfg.Model)
		return fmt.Errorf("it serves checkpoint %.12s with experts in %s, the coordinator %.12s in %s: "+
			"start both with the same --model, --experts-quant and --activations",
			theirs, experts, own, ownExperts)
	}
	if is.GetWorkerId() != l.worker {
		return fmt.Errorf("worker %.128s answers at this address", is.GetWorkerId())
	}
	// The stream must outlive this function, so its context is the lane's, cut
	// if the headers do not come in time.
	stop := context.AfterFunc(ctx, func() { l.cut(ctx.Err()) })
	defer stop()
	stream, err := client.Dispatch(l.ctx)
	if err != nil {
		return err
	}
	l.stream = stream
	if g, ok := stream.(*grpc.GenericClientStream[
		conclavev1.DispatchRequest, conclavev1.DispatchResponse]); ok {
		l.stream = g.ClientStream // what is behind the generated type
	}
	// The worker sends its headers at once; seeing them proves the stream.
	_, err = l.stream.Header()
	return err
}

// prepare returns a call whose request is to be filled and sent, or nil if the
// lane has no room for one.
func (l *lane) prepare() *call {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.idle); n > 0 {
		c := l.idle[n-1]
		l.idle = l.idle[:n-1]
		return c
	}
	if len(l.calls) >= maxCalls {
		return nil
	}
	c := &call{lane: l, resp: &wire.Response{}}
	c.req.Buffers = &l.buffers
	c.timer = time.AfterFunc(time.Hour, func() { l.cut(errLaneTimeout) })
	c.timer.Stop()
	l.calls = append(l.calls, c)
	return c
}

// waiting is how many answers are due.
func (l *lane) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.due)
}

// send hands a prepared call to the transport and starts the clock of its
// answer. An error is of our own making; whatever happens on the way, the call's
// inbox learns.
func (l *lane) send(c *call, timeout time.Duration) error {
	c.late, c.given, c.err = false, false, nil
	c.sent = time.Now()
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		c.err = l.failure()
		c.inbox.put(c)
		return nil
	}
	c.timer.Reset(timeout)
	l.due = append(l.due, c)
	l.mu.Unlock()

	// A worker that stands still leaves the transport's buffers full.
	l.stuck.Reset(c.limit)
	err := l.stream.SendMsg(&c.req)
	l.stuck.Stop()
	if err == nil || errors.Is(err, io.EOF) || l.ctx.Err() != nil {
		return nil // the listener learns why
	}
	return &rejectedError{l.worker, err.Error()} // a message over the limit
}

// release takes a call back whose answer is of no more use.
func (l *lane) release(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.releaseLocked(c)
}

func (l *lane) releaseLocked(c *call) {
	c.inbox = nil
	l.idle = append(l.idle, c)
}

// delay marks a call as late, if its answer is still due.
func (l *lane) delay(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delayLocked(c)
}

func (l *lane) delayLocked(c *call) (due bool) {
	for _, d := range l.due {
		if d != c {
			continue
		}
		if !c.late {
			c.late = true
			l.behind.Add(1)
		}
		return true
	}
	return false
}

// overdue reports whether an answer is due that is beyond its limit. Others that are owed
// were only given up, because somebody else was faster.
func (l *lane) overdue(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.due) > 0 && now.Sub(l.due[0].sent) >= l.due[0].limit
}

// giveUp leaves the answer of a call to the listener, unless the inbox has it
// already.
func (l *lane) giveUp(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.delayLocked(c) {
		c.given = true
	}
}

// listen takes answers off the stream until it ends, but for those that whoever waits for them
// takes.
func (l *lane) listen() {
	defer close(l.listened)
	for {
		l.ear.await(l.ctx)
		l.ear.mu.Lock()
		err := l.stream.RecvMsg(l.ear.spare)
		if errors.Is(err, io.EOF) {
			err = errHungUp
		}
		if err == nil {
			err = l.hear()
		}
		l.ear.mu.Unlock()
		if err != nil {
			l.end(err)
			return
		}
	}
}

// hear holds the answer that has come to the request that is due.
func (l *lane) hear() error {
	r, answered := l.ear.spare, &l.ear.answered
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.due) == 0 {
		return errUnasked
	}
	c := l.due[0]
	if r.ID != c.req.ID {
		return fmt.Errorf("it answered request %d, expected %d", r.ID, c.req.ID)
	}
	copy(l.due, l.due[1:])
	l.due = l.due[:len(l.due)-1]
	c.timer.Stop()
	l.ear.spare, c.resp = c.resp, r
	now := time.Now()
	c.span = newSpan(r, now.Sub(c.sent), answered.Sub(c.sent))
	*answered = now
	bytes := c.bytes
	if r.Status != wire.StatusOK {
		bytes = 0 // nothing was computed
	}
	l.record.answered(c, bytes)
	l.overLocked(c)
	return nil
}

// overLocked hands a call that is not due any more to whoever waits for it.
func (l *lane) overLocked(c *call) {
	if c.late {
		l.behind.Add(-1)
	}
	if c.given {
		l.releaseLocked(c)
		return
	}
	c.inbox.put(c)
}

// end cuts the lane and tells everybody who waits for an answer.
func (l *lane) end(cause error) {
	l.cut(cause)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for _, c := range l.due {
		c.timer.Stop()
		c.err = l.failure()
		l.overLocked(c)
	}
	l.due = l.due[:0]
}

// failure says why the lane has ended.
func (l *lane) failure() error {
	return fmt.Errorf("worker %s: %w", l.worker, context.Cause(l.ctx))
}

// cut ends the lane; whoever waits on it is released. The first cause stays.
func (l *lane) cut(cause error) { l.cancel(cause) }

// close cuts the lane and releases what it holds.
func (l *lane) close() {
	l.cut(context.Canceled)
	_ = l.conn.Close() // nothing is pending on it
	<-l.listened
	l.stuck.Stop()
	l.ear.rest()
}
