package dispatch

import (
	"slices"
	"time"

	"github.com/conclave-serve/conclave/router"
)

const (
	// retryRefused is how soon a worker is asked again that refused though the table
	// has not changed: its news may still be on their way.
	retryRefused = 20 * time.Millisecond
	// retryLate is how soon somebody else is looked for again where nobody was left
	// to ask for what a worker is late with.
	retryLate = 20 * time.Millisecond
)

// outage is how long nobody could be asked for some expert of a layer. The time of
// calls that fail in the end is no part of it.
type outage struct {
	began time.Time // moved forward by the time of calls between
	ended time.Time // zero while it lasts
}

// begin takes in that somebody is missing now, and returns since when, in all.
func (o *outage) begin(now time.Time) time.Time {
	switch {
	case o.began.IsZero():
		o.began = now
	case !o.ended.IsZero():
		o.began = o.began.Add(now.Sub(o.ended))
	}
	o.ended = time.Time{}
	return o.began
}

// end takes in that everybody is asked.
func (o *outage) end(now time.Time) { o.ended = now }

// reroute asks others for the experts that nobody is asked for any more, by the
// newest table. Where there is nobody, it returns until when to wait for
// news, while there is patience left.
func (d *Dispatcher) reroute(f *flight, began time.Time) (wake time.Time, err error) {
	d.renew(f)
	now := time.Now()
	if due(f.again, now) {
		f.forgive()
	}
	end := began.Add(d.cfg.Patience)
	if now.Before(end) {
		f.at = d.step
		f.missing = f.route.Again(f.at.table, f.layer, d.states(f, false)) >= 0
		d.launch(f)
		if !f.route.Unasked() {
			return wake, nil
		}
	}
	if f.missing && len(f.refused) == 0 && !d.step.lost.IsZero() {
		end = earlier(end, d.step.lost.Add(d.cfg.Patience))
	}
	if !now.Before(end) {
		reason := d.step.table.Missing()
		if reason == "" {
			reason = "workers keep failing"
		}
		return wake, &UnavailableError{Reason: reason, Cause: f.cause}
	}
	if len(f.refused) > 0 && f.again.IsZero() {
		f.again = now.Add(retryRefused)
	}
	return earlier(end, f.again), nil
}

// renew makes the newest table the step's. The fleet counts on the older one
// while calls are under way by it: their workers must not drop anything yet.
func (d *Dispatcher) renew(f *flight) {
	under := slices.ContainsFunc(f.attempts, func(a attempt) bool { return a.live })
	for i := range d.flights {
		other := &d.flights[i]
		under = under || other != f && other.away
	}
	if under {
		d.step = d.fleet.newest()
	} else {
		d.step = d.fleet.pin()
	}
}

// forgive lets those be asked again who refused.
func (f *flight) forgive() { f.refused, f.again = f.refused[:0], time.Time{} }

// states is what routing should know of the holders of the flight's table. With
// strict, whoever is only to be avoided is not asked at all; nor is one that owes an
// answer beyond its limit, where there is a last resort.
func (d *Dispatcher) states(f *flight, strict bool) []router.State {
	clock := time.Now()
	now := d.epoch.at(clock)
	d.scratch = d.scratch[:0]
	for _, l := range f.at.lanes {
		s := router.State{Exclude: true}
		if l != nil {
			speed, usable := l.record.state(now)
			owes := l.behind.Load() > 0
			s.Speed, s.Avoid = speed, !usable || owes
			s.Exclude = l.ctx.Err() != nil || slices.Contains(f.refused, l) ||
				strict && s.Avoid || owes && d.resorts() && l.overdue(clock)
		}
		d.scratch = append(d.scratch, s)
	}
	return d.scratch
}

// double asks others too for the experts of calls that are over their limits,
// and returns when the next one will be.
func (d *Dispatcher) double(f *flight) (wake time.Time) {
	now := time.Now()
	for i := 0; i < len(f.attempts); i++ {
		a := &f.attempts[i]
		if !a.live {
			continue
		}
		hops := &a.lane.record.hops
		if due(a.hedge, now) {
			a.hedge = time.Time{}
			if d.budget.Spend() {
				if d.also(f, i) {
					hops.hedges.Add(1)
					d.totals.hedges.Add(1)
				} else {
					d.budget.Return()
				}
			}
			a = &f.attempts[i] // the list has grown
		}
		if due(a.deadline, now) {
			a.deadline = time.Time{}
			d.late(f, i, now)
			a = &f.attempts[i]
		}
		wake = earlier(earlier(wake, a.hedge), a.deadline)
	}
	return wake
}

// late takes in that a call is beyond its limit, and asks others too unless they have been.
// Where there is nobody, it will be called again: others may be free or come meanwhile.
func (d *Dispatcher) late(f *flight, i int, now time.Time) {
	l := f.attempts[i].lane
	if !f.attempts[i].late {
		f.attempts[i].late = true
		if l.record.missed(d.epoch.at(now)) {
			d.totals.ejections.Add(1)
			d.cfg.Log.Warn("worker ejected: it keeps answering late", "worker", l.worker)
		}
		l.delay(f.attempts[i].call)
		f.route.Late(i)
	}
	switch {
	case f.attempts[i].doubled:
	case d.also(f, i):
		l.record.hops.retries.Add(1)
		d.totals.retries.Add(1)
	default:
		f.attempts[i].deadline = now.Add(retryLate)
	}
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// also asks others for the experts of a call that may still be answered, and
// reports whether there is anybody.
func (d *Dispatcher) also(f *flight, i int) bool {
	a := &f.attempts[i]
	d.renew(f)
	f.at = d.step
	states := d.states(f, true)
	for h, l := range f.at.lanes {
		if l == a.lane {
			states[h].Exclude = true
		}
	}
	if !f.route.Also(f.at.table, f.layer, i, states) {
		return false
	}
	a.doubled = true
	a.lane.delay(a.call)
	d.launch(f)
	return true
}

// earlier is the earlier of two times, of which the zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
