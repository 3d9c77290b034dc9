package dispatch

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
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
	// ExpertBytes is the size of one expert of each layer, by which the speed of
	// workers is measured; nil: all are alike.
	ExpertBytes []int64
	// Pool, if set, adds up large answers on all of its threads. It is used during
	// Receive only.
	Pool *kernels.Pool
	// Hidden is the width of the activations.
	Hidden int
	// Format is what activations are rounded to on their way; default F32,
	// which rounds nothing.
	Format wire.Format
	// Transport is what lanes run on; default TransportDirect.
	Transport Transport
	// CallTimeout is how long a worker may take for one layer before its lane
	// is cut; default 20 s.
	CallTimeout time.Duration
	// HedgeAfter is how many times the 99th percentile of a worker's recent calls
	// one may take before another replica is asked too, for at most one call in
	// twenty; 0: never.
	HedgeAfter float64
	// Patience is how long experts may be out of reach before the layers that
	// need them fail; default 15 s, more than a lease and a reload take. It
	// counts from when the table was last complete: layers that come later
	// wait for the rest of it, or not at all.
	Patience time.Duration
	// LastResort computes experts here that no worker answers for, from when every
	// expert has been in reach once; nil: their layers wait.
	LastResort LastResort
	// MaxMessage bounds messages in both directions; default 256 MB.
	MaxMessage int
	// OnSettled, if set, is told the epochs of tables that have become safe to
	// drop old copies by, in ascending order. It must not block, nor call the
	// dispatcher.
	OnSettled func(epoch uint64)
	// OnAnswered, if set, is told by the caller of Receive when the last answer of a layer
	// is there, before they are added up. For measurements.
	OnAnswered func()
	Log        *slog.Logger
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

// Flights is how many layers' calls may be under way at once: one for each
// micro-batch of a step. Two keep workers busy while the coordinator attends;
// more would only read weights more often.
const Flights = 2

// Dispatcher runs experts on workers. Begin, Send, Receive and End are for one
// caller at a time; the rest is safe for concurrent use.
type Dispatcher struct {
	cfg     Config
	fleet   *fleet
	step    *snapshot // what the step in flight routes by
	flights [Flights]flight
	next    uint64 // the last request's id
	adding  adding

	totals  totalCounters
	meter   *meter
	epoch   epoch
	limits  router.Limits
	budget  router.Budget
	here    here
	timer   *time.Timer // of the caller that waits
	scratch []router.State
}

// New returns a dispatcher without workers; Update brings them.
func New(cfg Config) (*Dispatcher, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	d := &Dispatcher{
		cfg: cfg, epoch: epoch(time.Now()),
		limits: router.Limits{HedgeAfter: cfg.HedgeAfter, Ceiling: int64(cfg.CallTimeout)},
		timer:  time.NewTimer(time.Hour),
	}
	d.meter = newMeter(cfg.Experts, time.Time(d.epoch))
	d.timer.Stop()
	for i := range d.flights {
		d.flights[i].inbox.wake = make(chan struct{}, 1)
	}
	d.fleet = newFleet(&d.cfg)
	return d, nil
}

// Update takes in the plan (nil if there is none) and the workers that
// membership knows.
func (d *Dispatcher) Update(plan *shard.Plan, workers []Worker) { d.fleet.update(plan, workers) }

// Table returns the routing table of now.
func (d *Dispatcher) Table() *router.Table {
	return d.fleet.newest().table
}

// Changed returns a channel that is closed when the table is replaced.
func (d *Dispatcher) Changed() <-chan struct{} {
	return d.fleet.newest().changed
}

// Hops returns where the time of each present worker's calls went.
func (d *Dispatcher) Hops() map[shard.WorkerID]Hops {
	d.fleet.mu.Lock()
	defer d.fleet.mu.Unlock()
	out := make(map[shard.WorkerID]Hops, len(d.fleet.peers))
	for id, p := range d.fleet.peers {
		h := p.record.hops.snapshot()
		h.Ejected = p.record.ejected()
		h.LastFailure, h.LastFailureAt = p.record.lastFailure()
		out[id] = h
	}
	return out
}

// Totals returns what was asked for, and done about calls that failed or were
// late.
func (d *Dispatcher) Totals() Totals {
	t := &d.totals
	return Totals{
		Steps: t.steps.Load(), Calls: t.calls.Load(), Experts: t.experts.Load(),
		Bytes: t.bytes.Load(), Retries: t.retries.Load(),
		Hedges: t.hedges.Load(), Ejections: t.ejections.Load(),
		LastResortExperts: d.here.experts.Load(), LastResortRows: d.here.rows.Load(),
	}
}

// Close cuts all lanes and waits for their keepers. A Run in progress returns
// ErrClosed.
func (d *Dispatcher) Close() { d.fleet.close() }

// Begin starts a step: its layers use one table, unless that one fails.
func (d *Dispatcher) Begin() {
	d.step = d.fleet.pin()
	d.totals.steps.Add(1)
	now := d.epoch.at(time.Now())
	sum, known := 0.0, 0
	for _, l := range d.step.lanes {
		if l != nil {
			if speed, _ := l.record.state(now); speed > 0 {
				sum, known = sum+speed, known+1
			}
		}
	}
	if known < 2 {
		return
	}
	for _, l := range d.step.lanes {
		if l != nil {
			l.record.relax(sum / float64(known))
		}
	}
}

// End ends the step. Answers that nobody received are given up; there is nothing
// to wait for.
func (d *Dispatcher) End() {
	for i := range d.flights {
		if f := &d.flights[i]; f.away {
			d.finish(f)
			f.away = false
		}
	}
	d.rest()
	d.step = nil
	d.fleet.unpin()
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
func (d *Dispatcher) check(f *flight, l *lane, r *wire.Response, c *router.Call) error {
	rows, format := len(c.Rows), d.cfg.Format
	if r.Summed && f.sums(c) {
		rows, format = len(c.Tokens), wire.F32
	}
	want := rows * d.cfg.Hidden * format.Size()
	var err error
	switch {
	case r.Status == wire.StatusExpertNotHeld || r.Status == wire.StatusExpired:
		return &refusedError{l.worker, r.Message}
	case r.Status == wire.StatusInvalid:
		return &rejectedError{l.worker, r.Message}
	case r.Status != wire.StatusOK:
		err = fmt.Errorf("worker %s answered with the unknown status %d", l.worker, r.Status)
	case r.Summed && !f.sums(c):
		err = fmt.Errorf("worker %s returned sums, for which nobody had asked", l.worker)
	case r.Format != format || len(r.Outputs.Bytes()) != want:
		err = fmt.Errorf("worker %s returned %d bytes of %v, expected %d of %v",
			l.worker, len(r.Outputs.Bytes()), r.Format, want, format)
	default:
		return nil
	}
	d.fleet.fail(l, err)
	return err
}
