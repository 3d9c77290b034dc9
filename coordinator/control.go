package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// controller plans which worker holds which expert while this process is
// elected. There is one elected controller per cluster.
type controller struct {
	client     *membership.Client
	id         string
	model      string
	layers     []shard.Layer
	minWorkers int
	replicas   int // copies of every expert, where there is room
	damper     *damper
	log        *slog.Logger

	// every is the time between looks at the load; 0: none. reports reads what
	// coordinators have measured, present what the registry holds.
	every   time.Duration
	reports func(context.Context) (map[string][]byte, error)
	present func() membership.State
	account account

	// Owned by govern: what was measured lately; the rebalance that is under way, or nil;
	// and what keeps the next one back.
	measured  measured
	underway  *rebalancing
	restraint restraint
}

// settle is how long the set of workers must stay as it is before it is
// planned for: workers that start together come in one plan.
const settle = 200 * time.Millisecond

// writeAgain is the time between attempts to write a plan that etcd refuses.
const writeAgain = 5 * time.Second

// campaignPause is the time between attempts at office after one has failed.
const campaignPause = time.Second

// run seeks office and governs until ctx ends.
func (c *controller) run(ctx context.Context) {
	for ctx.Err() == nil {
		office, err := c.client.Campaign(ctx, c.id)
		if err == nil {
			c.log.Info("elected controller")
			c.govern(ctx, office)
			office.Resign()
			continue
		}
		if ctx.Err() == nil {
			c.log.Warn("no election", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(campaignPause):
		}
	}
}

// govern replans whenever the workers change, and looks at the load from time to
// time, until office is lost.
func (c *controller) govern(ctx context.Context, office *membership.Office) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	states := c.client.Watch(ctx)
	var state membership.State
	timer := time.NewTimer(settle)
	defer timer.Stop()
	put := office.PutPlan
	thinking := newThinker(ctx, c)
	defer thinking.wait()
	defer c.end() // who governs next looks for itself what is left to do
	for {
		select {
		case <-office.Lost():
			c.log.Warn("no longer controller")
			return
		case next, ok := <-states:
			if !ok {
				return
			}
			// What loading workers report every moment must not put a plan off.
			if !sameForPlan(state, next) {
				timer.Reset(settle)
			}
			state = next
			c.advance(ctx, put, state)
		case <-timer.C:
			if again := c.plan(ctx, office, state); again > 0 {
				timer.Reset(again)
			}
		case <-thinking.ticks():
			if c.underway != nil {
				c.advance(ctx, put, state) // what could not be written then
			} else if plan := c.atRest(state); plan != nil {
				thinking.start(plan, state)
			}
		case thought := <-thinking.done:
			thinking.busy = false
			c.heed(thought, state)
			c.advance(ctx, put, state)
		}
	}
}

// sameForPlan reports whether two states call for the same plan.
func sameForPlan(a, b membership.State) bool {
	return a.Connected == b.Connected && a.PlanRevision == b.PlanRevision &&
		maps.EqualFunc(a.Workers, b.Workers, func(v, w membership.Worker) bool {
			// Another run of a worker may have come back too often.
			return v.Incarnation == w.Incarnation && v.Model == w.Model &&
				v.Capacity == w.Capacity && v.Memory == w.Memory && v.Zone == w.Zone &&
				v.Draining == w.Draining
		}) &&
		maps.EqualFunc(a.Coordinators, b.Coordinators, func(v, w membership.Coordinator) bool {
			return v.Model == w.Model
		})
}

// plan writes the next plan if the state calls for one. It returns after what time that should
// be tried again though nothing has changed; 0 if it should not.
func (c *controller) plan(
	ctx context.Context, office *membership.Office, state membership.State,
) (again time.Duration) {
	if !state.Connected {
		return 0
	}
	next, again, err := c.consider(state, time.Now())
	if err != nil {
		c.log.Warn("no placement", "err", err)
		return again
	}
	if next == nil {
		return again
	}
	data, err := next.Encode()
	if err != nil {
		c.log.Error("no placement", "err", err)
		return 0
	}
	_, err = office.PutPlan(ctx, data, state.PlanRevision)
	switch {
	case err == nil:
		if state.Plan != nil && readable(state).Plan == nil {
			c.log.Warn("replaced a plan that cannot be read", "revision", state.PlanRevision)
		}
		c.log.Info("new placement", "epoch", next.Epoch, "workers", len(next.Workers))
	case errors.Is(err, membership.ErrConflict), errors.Is(err, membership.ErrOusted):
		// The watch brings the plan that won; that state is decided anew, by whoever is in office.
	default:
		if ctx.Err() == nil {
			c.log.Warn("placement not written", "err", err)
		}
		return writeAgain
	}
	return again
}

// decide returns the plan that a state calls for, or nil if the present one is
// right or it is too early for the first.
func (c *controller) decide(state membership.State) (*shard.Plan, error) {
	prev, err := lastPlan(state)
	if err != nil {
		return nil, err
	}
	demand := c.demand(state, c.measured)
	if len(demand.Workers) == 0 || prev == nil && len(demand.Workers) < c.minWorkers {
		return nil, nil
	}
	if err := otherModel(state, c.model, c.id); err != nil {
		return nil, err
	}
	next, err := demand.Next(prev, c.model)
	if err != nil || next == prev {
		return nil, err
	}
	next.Epoch = max(next.Epoch, lastEpoch(state)+1)
	return next, nil
}

// demand is what placements in a state are judged by.
func (c *controller) demand(state membership.State, m measured) *shard.Demand {
	d := &shard.Demand{Layers: c.layers, Copies: c.replicas, Load: m.load}
	speeds := speedsFor(state, c.model, m.speeds)
	for _, w := range state.Workers {
		if w.Model == c.model && !w.Draining {
			d.Workers = append(d.Workers, shard.Capacity{
				ID: shard.WorkerID(w.ID), Bytes: w.Capacity, Zone: w.Zone,
				Spare: int64(forExperts * float64(w.Memory)), Speed: speeds[w.ID],
			})
		}
	}
	return d
}

// forExperts is the part of a machine's memory that copies beyond the first may
// fill together with these. Weights are mapped: what does not fit is read from
// the disk again and again.
const forExperts = 0.8

// lastEpoch is the newest epoch that anybody has heard of. It is ahead of the
// plan's only if the registry lost its history; an epoch used twice would let
// workers drop experts that tables still route to. One that no plan can have does not count.
func lastEpoch(state membership.State) uint64 {
	var last uint64
	hear := func(epoch uint64) {
		if epoch < shard.MaxEpoch {
			last = max(last, epoch)
		}
	}
	for _, k := range state.Coordinators {
		hear(k.TableEpoch)
	}
	for _, w := range state.Workers {
		hear(w.PlanEpoch)
	}
	return last
}
