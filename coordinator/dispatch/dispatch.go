package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// Config is what a dispatcher is made of.
type Config struct {
	// Model is the fingerprint of the checkpoint; a worker of another one gets
	// no lane.
	Model string
	// Experts is the number of routed experts of each layer, 0 for dense ones.
	Experts []int
	// Hidden is the width of the activations.
	Hidden int
	// Format is what activations are rounded to on their way; default F32,
	// which rounds nothing.
	Format wire.Format
	// CallTimeout is how long a worker may take for one layer before its lane
	// is cut; default 20 s.
	CallTimeout time.Duration
	// Patience is how long experts may be out of reach before the layers that
	// need them fail; default 15 s, more than a lease and a reload take. It
	// counts from when the table was last complete: layers that come later
	// wait for the rest of it, or not at all.
	Patience time.Duration
	// MaxMessage bounds messages in both directions; default 256 MB.
	MaxMessage int
	// OnSettled, if set, is told the epochs of tables that have become safe to
	// drop old copies by, in ascending order. It must not block, nor call the
	// dispatcher.
	OnSettled func(epoch uint64)
	Log       *slog.Logger
}

func (c *Config) setDefaults() error {
	if c.Format == 0 {
		c.Format = wire.F32
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = 20 * time.Second
	}
	if c.Patience == 0 {
		c.Patience = 15 * time.Second
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 256 << 20
	}
	if c.OnSettled == nil {
		c.OnSettled = func(uint64) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Hidden <= 0 || c.Format.Size() == 0 {
		return fmt.Errorf("dispatch: hidden size %d, wire format %v", c.Hidden, c.Format)
	}
	return nil
}

// UnavailableError says that the experts of a layer stayed out of reach for
// longer than the dispatcher's patience.
type UnavailableError struct {
	Reason string
	// Cause is the last failure on the data path, if there was one.
	Cause error
}

// Error implements error.
func (e *UnavailableError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s (last error: %v)", e.Reason, e.Cause)
	}
	return e.Reason
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Cause }

// Dispatcher runs experts on workers. Begin, Run and End are for one caller at
// a time; the rest is safe for concurrent use.
type Dispatcher struct {
	cfg     Config
	fleet   *fleet
	step    *snapshot // what the step in flight routes by
	route   router.Route
	replies []*wire.Response // one for each call of the route
	next    uint64           // the last request's id
	row     []float32
}

// New returns a dispatcher without workers; Update brings them.
func New(cfg Config) (*Dispatcher, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	d := &Dispatcher{cfg: cfg, row: make([]float32, cfg.Hidden)}
	d.fleet = newFleet(&d.cfg)
	return d, nil
}

// Update takes in the plan (nil if there is none) and the workers that
// membership knows.
func (d *Dispatcher) Update(plan *shard.Plan, workers []Worker) { d.fleet.update(plan, workers) }

// Table returns the routing table of now.
func (d *Dispatcher) Table() *router.Table {
	d.fleet.mu.Lock()
	defer d.fleet.mu.Unlock()
	return d.fleet.current.table
}

// Changed returns a channel that is closed when the table is replaced.
func (d *Dispatcher) Changed() <-chan struct{} {
	d.fleet.mu.Lock()
	defer d.fleet.mu.Unlock()
	return d.fleet.current.changed
}

// Hops returns where the time of each present worker's calls went.
func (d *Dispatcher) Hops() map[shard.WorkerID]Hops {
	d.fleet.mu.Lock()
	defer d.fleet.mu.Unlock()
	out := make(map[shard.WorkerID]Hops, len(d.fleet.peers))
	for id, p := range d.fleet.peers {
		out[id] = p.hops.snapshot()
	}
	return out
}

// Close cuts all lanes and waits for their keepers. A Run in progress returns
// ErrClosed.
func (d *Dispatcher) Close() { d.fleet.close() }

// Begin starts a step: its layers use one table, unless that one fails.
func (d *Dispatcher) Begin() { d.step = d.fleet.pin() }

// End ends the step.
func (d *Dispatcher) End() {
	d.step = nil
	d.fleet.unpin()
}

// Run sets out [tokens, hidden] to the weighted sum of the chosen experts'
// outputs for x [tokens, hidden]. It tries until every expert has answered,
// ctx ends, a worker rejects the request itself, or the experts have been out
// of reach for longer than the configured patience (*UnavailableError).
func (d *Dispatcher) Run(
	ctx context.Context, layer int, x []float32, c router.Choice, out []float32,
) error {
	var began time.Time // when this call failed first
	var cause error
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		missing := d.route.Plan(d.step.table, layer, c) >= 0
		if !missing {
			if cause = d.exchange(ctx, layer, x); cause == nil {
				d.combine(out)
				return nil
			}
			var rejected *rejectedError
			if errors.As(cause, &rejected) {
				return cause
			}
		}
		if began.IsZero() {
			began = time.Now()
		}
		if err := d.reroute(ctx, began, missing, cause); err != nil {
			return err
		}
	}
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
	ctx context.Context, began time.Time, missing bool, cause error,
) error {
	left := d.cfg.Patience - time.Since(began)
	s := d.step
	d.step = d.fleet.pin()
	if d.step != s && left > 0 {
		return nil
	}
	if s = d.step; missing && !s.lost.IsZero() {
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
	d.step = d.fleet.pin()
	return nil
}

// exchange sends the route's calls and waits for all answers.
func (d *Dispatcher) exchange(ctx context.Context, layer int, x []float32) (failed error) {
	s, calls := d.step, d.route.Calls
	d.replies = d.replies[:0]
	for i := range calls {
		l := s.lanes[calls[i].Holder]
		d.encode(l, s.table.Epoch, layer, &calls[i], x)
		if failed = l.send(d.cfg.CallTimeout); failed != nil {
			d.fleet.fail(l, failed)
			break
		}
		d.replies = append(d.replies, nil)
	}
	// Every answer on its way is taken, so that no lane is left with one.
	for i := range d.replies {
		l := s.lanes[calls[i].Holder]
		r, err := l.receive(ctx)
		switch {
		case err == nil:
			d.replies[i] = r
			err = d.check(l, r, &calls[i])
		case ctx.Err() == nil:
			d.fleet.fail(l, err)
		}
		if err != nil {
			failed = err
		}
	}
	return failed
}

func (d *Dispatcher) encode(l *lane, epoch uint64, layer int, c *router.Call, x []float32) {
	h, f := d.cfg.Hidden, d.cfg.Format
	d.next++
	r := &l.req
	r.ID, r.Epoch, r.Layer, r.Format = d.next, epoch, uint32(layer), f
	r.Timeout, r.Tokens = d.cfg.CallTimeout, uint32(len(c.Tokens))
	r.Experts, r.RowCounts, r.Rows, r.Weights = c.Experts, c.RowCounts, c.Rows, c.Weights
	row := h * f.Size()
	body := r.Activations.Reserve(&l.buffers, len(c.Tokens)*row)
	for i, t := range c.Tokens {
		f.Encode(body[i*row:(i+1)*row], x[int(t)*h:(int(t)+1)*h])
	}
}

// refusedError is a worker's typed refusal; its lane is sound, and another
// worker or the same one a moment later may accept.
type refusedError struct{ worker, message string }

func (e *refusedError) Error() string {
	return fmt.Sprintf("worker %s refused: %s", e.worker, e.message)
}

// rejectedError says that a request is wrong in itself: every worker would
// reject it, however often it is asked.
type rejectedError struct{ worker, message string }

func (e *rejectedError) Error() string {
	return fmt.Sprintf("request to worker %s rejected: %s", e.worker, e.message)
}

// check holds an answer to its call. A worker that answers nonsense loses its
// lane.
func (d *Dispatcher) check(l *lane, r *wire.Response, c *router.Call) error {
	want := len(c.Rows) * d.cfg.Hidden * d.cfg.Format.Size()
	var err error
	switch {
	case r.Status == wire.StatusExpertNotHeld || r.Status == wire.StatusExpired:
		return &refusedError{l.worker, r.Message}
	case r.Status == wire.StatusInvalid:
		return &rejectedError{l.worker, r.Message}
	case r.Status != wire.StatusOK:
		err = fmt.Errorf("worker %s answered with the unknown status %d", l.worker, r.Status)
	case r.Format != d.cfg.Format || len(r.Outputs.Bytes()) != want:
		err = fmt.Errorf("worker %s returned %d bytes of %v, expected %d of %v",
			l.worker, len(r.Outputs.Bytes()), r.Format, want, d.cfg.Format)
	default:
		return nil
	}
	d.fleet.fail(l, err)
	return err
}

// combine adds the outputs of all calls in ascending expert order.
func (d *Dispatcher) combine(out []float32) {
	clear(out)
	h, f := d.cfg.Hidden, d.cfg.Format
	row := h * f.Size()
	for _, slot := range d.route.Slots {
		c := &d.route.Calls[slot.Call]
		body := d.replies[slot.Call].Outputs.Bytes()
		for i := slot.First; i < slot.First+slot.Count; i++ {
			f.Decode(d.row, body[i*row:(i+1)*row])
			dst := out[c.Token(i)*h:][:h]
			for j, v := range d.row {
				dst[j] += v
			}
		}
	}
}
