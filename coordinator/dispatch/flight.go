package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-serve/conclave/internal/obs"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
)

// flight is one layer's calls for one micro-batch, from Send to Receive.
type flight struct {
	micro  int
	layer  int
	x      []float32
	choice router.Choice
	away   bool // sent, and not received

	at      *snapshot // what it was routed by
	route   router.Route
	missing bool             // no worker serves some expert of it
	sent    int              // calls that are on their way; the first ones of the route
	failed  error            // of the call after those
	replies []*wire.Response // one for each call sent
}

// Send starts the chosen experts of layer for x [tokens, hidden], the rows of
// micro-batch micro. Both x and c must stay as they are until Receive has
// returned. What goes wrong is Receive's to report.
func (d *Dispatcher) Send(micro, layer int, x []float32, c router.Choice) {
	f := &d.flights[micro]
	f.micro, f.layer, f.x, f.choice, f.away = micro, layer, x, c, true
	d.post(f)
}

// Receive sets out [tokens, hidden] to the weighted sum of the outputs of the
// experts that the last Send of the micro-batch started. It tries until every
// expert has answered, ctx ends, a worker rejects the request itself, or the
// experts have been out of reach for longer than the configured patience
// (*UnavailableError).
func (d *Dispatcher) Receive(ctx context.Context, micro int, out []float32) error {
	f := &d.flights[micro]
	f.away = false
	var began time.Time // when this layer failed first
	var cause error
	for {
		missing := f.missing
		if !missing {
			if cause = d.collect(ctx, f); cause == nil {
				d.combine(f, out)
				return nil
			}
			var rejected *rejectedError
			if errors.As(cause, &rejected) {
				return cause
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if began.IsZero() {
			began = time.Now()
		}
		if err := d.reroute(ctx, f, began, cause); err != nil {
			return err
		}
		d.post(f)
	}
}

// Run is Send and Receive of one micro-batch.
func (d *Dispatcher) Run(
	ctx context.Context, layer int, x []float32, c router.Choice, out []float32,
) error {
	d.Send(0, layer, x, c)
	return d.Receive(ctx, 0, out)
}

// ErrClosed is returned by a call that the closing of the dispatcher
// interrupted.
var ErrClosed = errors.New("dispatcher is closed")

// retryRefused is how soon a layer is routed again when a worker refused it
// though the table has not changed: its news may still be on their way.
const retryRefused = 20 * time.Millisecond

// reroute makes a table newer than the step's the step's, and waits for it
// while there is patience left.
func (d *Dispatcher) reroute(
	ctx context.Context, f *flight, began time.Time, cause error,
) error {
	left := d.cfg.Patience - time.Since(began)
	d.renew(f)
	if d.step != f.at && left > 0 {
		return nil
	}
	s := d.step
	if f.missing && !s.lost.IsZero() {
		left = min(left, d.cfg.Patience-time.Since(s.lost))
	}
	if left <= 0 {
		reason := s.table.Missing()
		if reason == "" {
			reason = "workers keep failing"
		}
		return &UnavailableError{Reason: reason, Cause: cause}
	}
	var refused *refusedError
	if errors.As(cause, &refused) {
		left = min(left, retryRefused)
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.fleet.ctx.Done():
		return ErrClosed
	case <-timer.C:
	case <-s.changed:
	}
	d.renew(f)
	return nil
}

// renew makes the newest table the step's. The fleet counts on the older one
// while another micro-batch is under way by it.
func (d *Dispatcher) renew(f *flight) {
	for i := range d.flights {
		if other := &d.flights[i]; other != f && other.away {
			d.step = d.fleet.newest()
			return
		}
	}
	d.step = d.fleet.pin()
}

// post routes a flight by the step's table and sends its calls.
func (d *Dispatcher) post(f *flight) {
	f.at, f.sent, f.failed = d.step, 0, nil
	f.missing = f.route.Plan(f.at.table, f.layer, f.choice) >= 0
	if f.missing {
		return
	}
	for i := range f.route.Calls {
		c := &f.route.Calls[i]
		l := f.at.lanes[c.Holder]
		timeout := d.cfg.CallTimeout * time.Duration(1+len(l.due)) // it waits for those before it
		d.encode(&l.calls[f.micro].req, f, c, timeout)
		if f.failed = l.send(f.micro, timeout); f.failed != nil {
			d.fleet.fail(l, f.failed)
			return
		}
		f.sent++
	}
}

func (d *Dispatcher) encode(
	r *wire.Request, f *flight, c *router.Call, timeout time.Duration,
) {
	h, format := d.cfg.Hidden, d.cfg.Format
	d.next++
	r.ID, r.Epoch, r.Layer, r.Format = d.next, f.at.table.Epoch, uint32(f.layer), format
	r.Timeout, r.Tokens = timeout, uint32(len(c.Tokens))
	r.Experts, r.RowCounts, r.Rows, r.Weights = c.Experts, c.RowCounts, c.Rows, c.Weights
	row := h * format.Size()
	body := r.Activations.Reserve(r.Buffers, len(c.Tokens)*row)
	for i, t := range c.Tokens {
		format.Encode(body[i*row:(i+1)*row], f.x[int(t)*h:(int(t)+1)*h])
	}
}

// collect waits for the answers to all calls that were sent, so that no lane is
// left with one, and returns what failed.
func (d *Dispatcher) collect(ctx context.Context, f *flight) error {
	failed := f.failed
	f.replies = f.replies[:0]
	trace := obs.StepFrom(ctx)
	for i := range f.sent {
		c := &f.route.Calls[i]
		l := f.at.lanes[c.Holder]
		r, err := l.receive(ctx, f.micro)
		f.replies = append(f.replies, r)
		switch {
		case err == nil:
			err = d.check(l, r, c)
		case ctx.Err() == nil:
			d.fleet.fail(l, err)
		}
		if err != nil {
			failed = err
		}
		if trace != nil {
			trace.Hop(f.hop(l, c, err))
		}
	}
	f.sent = 0
	return failed
}

// hop is what a trace says of a call of f that has ended, with err or without.
func (f *flight) hop(l *lane, c *router.Call, err error) obs.Hop {
	call := &l.calls[f.micro]
	h := obs.Hop{
		Layer: f.layer, Micro: f.micro, Worker: l.worker, Rows: len(c.Tokens),
		Started: call.sent, Err: err,
	}
	if err != nil {
		h.Took = time.Since(call.sent)
	} else {
		h.Took, h.Queue, h.Compute = call.span.took, call.span.queue, call.span.compute
	}
	return h
}

// combine adds the outputs of all calls in ascending expert order.
func (d *Dispatcher) combine(f *flight, out []float32) {
	clear(out)
	h, format := d.cfg.Hidden, d.cfg.Format
	row := h * format.Size()
	for _, slot := range f.route.Slots {
		c := &f.route.Calls[slot.Call]
		body := f.replies[slot.Call].Outputs.Bytes()
		for i := slot.First; i < slot.First+slot.Count; i++ {
			format.Decode(d.row, body[i*row:(i+1)*row])
			dst := out[c.Token(i)*h:][:h]
			for j, v := range d.row {
				dst[j] += v
			}
		}
	}
}
