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

	at       *snapshot // what it was routed by last
	route    router.Route
	attempts []attempt // one for each call of the route
	inbox    inbox
	missing  bool    // no worker of at may be asked for some expert
	refused  []*lane // not to be asked before there is news, or it is
	again    time.Time
	doubts   doubts
	rejected error  // of a request that is wrong in itself
	cause    error  // the last failure
	summed   int    // the attempt whose answer is the sum of all slots, or -1
	here     []byte // outputs that were computed here, as those of workers come
}

// attempt is one call of a flight's route.
type attempt struct {
	lane *lane
	call *call // nil when it has failed
	live bool  // its answer is due
	// hedge is when others are asked too, zero if they have been, or will not be;
	// deadline is when it is late, or then when others are looked for again; zero if
	// they need not be.
	hedge, deadline time.Time
	late            bool // it is beyond its limit
	doubled         bool // others were asked too
	// here is the answer of a call without a lane, which the last resort took.
	here []byte
}

// outputs are those of an attempt that was answered.
func (a *attempt) outputs() []byte {
	if a.call == nil {
		return a.here
	}
	return a.call.resp.Outputs.Bytes()
}

// Send starts the chosen experts of layer for x [tokens, hidden], the rows of
// micro-batch micro. Both x and c must stay as they are until Receive has
// returned. What goes wrong is Receive's to report.
func (d *Dispatcher) Send(micro, layer int, x []float32, c router.Choice) {
	f := &d.flights[micro]
	f.micro, f.layer, f.x, f.choice, f.away = micro, layer, x, c, true
	f.rejected, f.cause, f.summed, f.at = nil, nil, -1, d.step
	f.doubts.clear()
	f.forgive()
	f.missing = f.route.Plan(f.at.table, layer, c, d.states(f, false)) >= 0
	d.launch(f)
	d.meter.count(layer, f.route.Slots) // while workers are at it
}

// Receive sets out [tokens, hidden] to the weighted sum of the outputs of the
// experts that the last Send of the micro-batch started. Calls that fail or are
// late go to other replicas; the first answer counts. It tries until every
// expert has answered, ctx ends, a worker rejects the request itself, or the
// experts have been out of reach for longer than the configured patience
// (*UnavailableError).
func (d *Dispatcher) Receive(ctx context.Context, micro int, out []float32) error {
	f := &d.flights[micro]
	f.away = false
	defer d.finish(f)
	var missed outage
	for {
		d.absorb(ctx, f)
		switch {
		case f.rejected != nil:
			return f.rejected
		case f.route.Complete():
			if d.cfg.OnAnswered != nil {
				d.cfg.OnAnswered()
			}
			d.combine(f, out)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		wake := d.double(f)
		var changed <-chan struct{}
		if f.route.Unasked() {
			now := time.Now()
			left, err := d.reroute(f, missed.begin(now))
			if !f.route.Unasked() || d.resort(ctx, f) {
				missed.end(now) // what is computed here takes no patience
				continue        // to look at the limits of the new calls, and for workers
			}
			if err != nil {
				return err
			}
			wake, changed = earlier(wake, left), f.at.changed
		} else if d.resort(ctx, f) {
			continue // to look for answers that have come meanwhile
		}
		if err := d.wait(ctx, f, wake, changed); err != nil {
			return err
		}
	}
}

// ErrClosed is returned by a call that the closing of the dispatcher
// interrupted.
var ErrClosed = errors.New("dispatcher is closed")

// wait returns when a call is over, at the time wake, when changed is closed,
// or with an error when there is nothing to wait for any more.
func (d *Dispatcher) wait(
	ctx context.Context, f *flight, wake time.Time, changed <-chan struct{},
) error {
	if changed == nil && d.hearAtOnce(f, wake) {
		return nil
	}
	var timer <-chan time.Time
	if !wake.IsZero() {
		d.timer.Reset(time.Until(wake))
		timer = d.timer.C
	}
	select {
	case <-f.inbox.wake:
	case <-timer:
	case <-changed:
		f.forgive()
	case <-ctx.Done():
		return ctx.Err()
	case <-d.fleet.ctx.Done():
		return ErrClosed
	}
	return nil
}

// launch sends the calls of the route that were not sent yet.
func (d *Dispatcher) launch(f *flight) {
	for i := len(f.attempts); i < len(f.route.Calls); i++ {
		c := &f.route.Calls[i]
		l := f.at.lanes[c.Holder]
		k := l.prepare()
		if k == nil {
			f.attempts = append(f.attempts, attempt{lane: l})
			f.refused, f.cause = append(f.refused, l), errCongested
			f.route.Failed(i)
			continue
		}
		d.budget.Called()
		d.totals.called(len(c.Experts), d.expertBytes(f.layer))
		now := time.Now()
		k.asked = d.epoch.at(now)
		bytes := c.Reads() * float64(d.expertBytes(f.layer))
		hedge, deadline := l.record.limits(len(c.Rows), k.asked, d.limits)
		if deadline == 0 {
			deadline = d.guess(f, c, bytes)
		}
		a := attempt{lane: l, call: k, live: true, deadline: now.Add(deadline)}
		if hedge > 0 {
			a.hedge = now.Add(hedge)
		}
		f.attempts = append(f.attempts, a)
		k.inbox, k.attempt, k.rows, k.limit = &f.inbox, i, len(c.Rows), deadline
		k.bytes = int64(bytes)
		timeout := d.cfg.CallTimeout * time.Duration(1+l.waiting()) // for those before it
		d.encode(&k.req, f, c, timeout)
		if err := l.send(k, timeout); err != nil {
			f.rejected = err
			return
		}
	}
}

// guess is how long a call may take to a worker of which nothing is known.
func (d *Dispatcher) guess(f *flight, c *router.Call, bytes float64) time.Duration {
	var p99 int64
	rows := len(c.Rows)
	moved := (len(c.Tokens) + rows) * d.cfg.Hidden * d.cfg.Format.Size()
	for _, l := range f.at.lanes {
		if l != nil {
			p99 = max(p99, l.record.p99(rows))
		}
	}
	return time.Duration(d.limits.Guess(p99, bytes, float64(moved)))
}

func (d *Dispatcher) expertBytes(layer int) int64 {
	if layer < len(d.cfg.ExpertBytes) {
		return d.cfg.ExpertBytes[layer]
	}
	return 1
}

func (d *Dispatcher) encode(
	r *wire.Request, f *flight, c *router.Call, timeout time.Duration,
) {
	h, format := d.cfg.Hidden, d.cfg.Format
	d.next++
	r.ID, r.Epoch, r.Layer, r.Format = d.next, f.at.table.Epoch, uint32(f.layer), format
	r.Timeout, r.Tokens = timeout, uint32(len(c.Tokens))
	r.Experts, r.RowCounts, r.Rows, r.Weights = c.Experts, c.RowCounts, c.Rows, c.Weights
	r.Sum = f.sums(c)
	row := h * format.Size()
	body := r.Activations.Reserve(r.Buffers, len(c.Tokens)*row)
	for i, t := range c.Tokens {
		format.Encode(body[i*row:(i+1)*row], f.x[int(t)*h:(int(t)+1)*h])
	}
}

// absorb takes in the calls that are over.
func (d *Dispatcher) absorb(ctx context.Context, f *flight) {
	trace := obs.StepFrom(ctx)
	for _, k := range f.inbox.take() {
		a, c := &f.attempts[k.attempt], &f.route.Calls[k.attempt]
		a.live = false
		err := k.err
		if err == nil {
			err = d.judge(f, a.lane, k.resp, c)
		} else if ctx.Err() == nil {
			d.fleet.fail(a.lane, err)
		}
		if trace != nil {
			trace.Hop(f.hop(k, c, err))
		}
		if err == nil {
			f.route.Answered(k.attempt)
			if k.resp.Summed {
				f.summed = k.attempt
			}
			continue
		}
		f.cause = err
		a.call = nil
		a.lane.release(k)
		f.route.Failed(k.attempt)
		a.lane.record.hops.retries.Add(1)
		d.totals.retries.Add(1)
		var refused *refusedError
		if errors.As(err, &refused) {
			f.refused = append(f.refused, a.lane)
		}
		var rejected *rejectedError
		if errors.As(err, &rejected) {
			f.rejected = err
		}
	}
}

// hop is what a trace says of a call that is over, with err or without.
func (f *flight) hop(k *call, c *router.Call, err error) obs.Hop {
	h := obs.Hop{
		Layer: f.layer, Micro: f.micro, Worker: k.lane.worker, Rows: len(c.Tokens),
		Started: k.sent, Err: err,
	}
	if err != nil {
		h.Took = time.Since(k.sent)
	} else {
		h.Took, h.Queue, h.Compute = k.span.took, k.span.queue, k.span.compute
	}
	return h
}

// finish gives back the answers of a flight, and gives up those that are due.
func (d *Dispatcher) finish(f *flight) {
	for i := range f.attempts {
		if a := &f.attempts[i]; a.live {
			a.lane.giveUp(a.call)
		} else if a.call != nil {
			a.lane.release(a.call)
		}
	}
	for _, k := range f.inbox.take() { // came just before they were given up
		k.lane.release(k)
	}
	f.attempts, f.here = f.attempts[:0], f.here[:0]
}
