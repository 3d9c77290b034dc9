package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/conclave-serve/conclave/internal/wire"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

// lane is an open stream to one worker. The dispatcher's caller sends on it, at
// most one request of each micro-batch at a time, and the worker answers in the
// order of the requests; a goroutine of the lane listens for the answers, so
// that a lane that breaks between requests is known to be broken.
type lane struct {
	worker string
	conn   *grpc.ClientConn
	stream grpc.ClientStream
	// ctx ends when the lane is of no more use; its cause says why.
	ctx    context.Context
	cancel context.CancelCauseFunc
	hops   *hopCounters

	calls [Flights]call
	// due holds the micro-batches whose answers are due, in order. The sender
	// writes a call before it puts it here; from then until the answer is out it
	// is the listener's.
	due chan int

	buffers  wire.Buffers
	heard    wire.Response // what comes off the stream, before it is known whose it is
	answered time.Time     // when the last answer came; the listener's
	listened chan struct{} // closed when the listener has ended
}

// call is one request on its way.
type call struct {
	req  wire.Request
	sent time.Time
	// timer cuts the lane unless it is stopped; it runs while an answer is due.
	timer *time.Timer
	// answer hands over reply, which stays as it is until the next request: the
	// other micro-batch may ask again and again before this one is read.
	answer chan *wire.Response // buffer 1
	reply  wire.Response
	span   span // of the answer
}

var (
	// errLaneTimeout is why a lane was cut when its worker did not answer in
	// time.
	errLaneTimeout = errors.New("no answer within the call timeout")
	errUnasked     = errors.New("an answer came that nobody had asked for")
	errHungUp      = errors.New("it ended the stream")
)

// openLane connects to a worker, checks that it serves the expected
// checkpoint, and opens its stream. The lane lives until ctx ends or it is
// cut; it must be closed.
func openLane(ctx context.Context, cfg *Config, id, addr string, hops *hopCounters) (*lane, error) {
	options := append(wire.DialOptions(cfg.MaxMessage),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient("passthrough:///"+addr, options...)
	if err != nil {
		return nil, fmt.Errorf("dial worker %s at %s: %w", id, addr, err)
	}
	l := &lane{
		worker: id, conn: conn, hops: hops,
		due: make(chan int, Flights), listened: make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	if err := l.handshake(cfg); err != nil {
		l.cut(err)
		_ = conn.Close() // nothing is pending on it
		return nil, fmt.Errorf("open lane to worker %s at %s: %w", id, addr, err)
	}
	for i := range l.calls {
		c := &l.calls[i]
		c.req.Buffers, c.answer = &l.buffers, make(chan *wire.Response, 1)
		c.timer = time.AfterFunc(time.Hour, func() { l.cut(errLaneTimeout) })
		c.timer.Stop()
	}
	go l.listen()
	return l, nil
}

func (l *lane) handshake(cfg *Config) error {
	client := conclavev1.NewExpertServiceClient(l.conn)
	ctx, cancel := context.WithTimeout(l.ctx, cfg.CallTimeout)
	defer cancel()
	is, err := client.Describe(ctx, &conclavev1.DescribeRequest{})
	if err != nil {
		return err
	}
	if is.GetModel() != cfg.Model {
		return fmt.Errorf("it serves checkpoint %.12s, the coordinator %.12s: "+
			"start both with the same --model", is.GetModel(), cfg.Model)
	}
	if is.GetWorkerId() != l.worker {
		return fmt.Errorf("worker %s answers at this address", is.GetWorkerId())
	}
	// The stream must outlive this function, so its context is the lane's, cut
	// if the headers do not come in time.
	stop := context.AfterFunc(ctx, func() { l.cut(ctx.Err()) })
	defer stop()
	if l.stream, err = client.Dispatch(l.ctx); err != nil {
		return err
	}
	// The worker sends its headers at once; seeing them proves the stream.
	_, err = l.stream.Header()
	return err
}

// send hands the request of a micro-batch to the transport and starts the clock
// of its answer.
func (l *lane) send(micro int, timeout time.Duration) error {
	c := &l.calls[micro]
	c.timer.Reset(timeout)
	c.sent = time.Now()
	select {
	case l.due <- micro:
	case <-l.ctx.Done():
		return l.failure()
	}
	err := l.stream.SendMsg(&c.req)
	if errors.Is(err, io.EOF) {
		<-l.ctx.Done() // the listener learns why
		return l.failure()
	}
	if err != nil { // of our own making: a message over the limit
		return &rejectedError{l.worker, err.Error()}
	}
	return nil
}

// receive waits for the answer to the request of a micro-batch. If ctx ends
// first, the lane is cut: its answer would be taken for that of the next one.
func (l *lane) receive(ctx context.Context, micro int) (*wire.Response, error) {
	select {
	case r := <-l.calls[micro].answer:
		return r, nil
	case <-l.ctx.Done():
		return nil, l.failure()
	case <-ctx.Done():
		l.cut(ctx.Err())
		return nil, ctx.Err()
	}
}

// listen takes answers off the stream until it ends.
func (l *lane) listen() {
	defer close(l.listened)
	for {
		c, err := l.hear()
		if err != nil {
			l.cut(err)
			return
		}
		c.answer <- &c.reply
	}
}

// hear waits for one answer and holds it to the request that is due.
func (l *lane) hear() (*call, error) {
	r := &l.heard
	err := l.stream.RecvMsg(r)
	switch {
	case errors.Is(err, io.EOF):
		return nil, errHungUp
	case err != nil:
		return nil, err
	}
	var c *call
	select {
	case micro := <-l.due:
		c = &l.calls[micro]
	default:
		return nil, errUnasked
	}
	if r.ID != c.req.ID {
		return nil, fmt.Errorf("it answered request %d, expected %d", r.ID, c.req.ID)
	}
	c.timer.Stop()
	now := time.Now()
	c.span = newSpan(r, now.Sub(c.sent), l.answered.Sub(c.sent))
	l.hops.add(c.span)
	l.answered = now
	c.reply, l.heard = l.heard, c.reply // each keeps its memory
	return c, nil
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
	for i := range l.calls {
		l.calls[i].timer.Stop()
	}
	_ = l.conn.Close() // nothing is pending on it
	<-l.listened
}
