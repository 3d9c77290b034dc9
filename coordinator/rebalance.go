package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// rebalancing is a rebalance on its way: plan after plan, each of which moves the
// experts of a layer or of a few.
type rebalancing struct {
	demand *shard.Demand
	epoch  uint64 // of the newest plan of it
	steps  []shard.Step
}

// stepBytes is how much is loaded for one plan, or one layer. More would hold
// twice as much memory meanwhile and take longer to stop; less would take a round
// of the registry for every expert.
const stepBytes = 256 << 20

// heed begins the rebalance that a look at the load calls for, if it has for some time.
func (c *controller) heed(t thought, state membership.State) {
	if t.err != nil {
		c.log.Debug("no look at the load", "err", t.err)
		return
	}
	c.measured = t.measured
	if c.underway != nil {
		return
	}
	if plan, err := c.planOf(state); err != nil || plan == nil || plan.Epoch != t.epoch {
		return // it was about another one
	}
	if !c.restraint.allows(&t) {
		return
	}
	c.underway = &rebalancing{demand: t.demand, epoch: t.epoch, steps: t.change.Steps}
	before, after := t.change.Before, t.change.After
	c.log.Info("rebalancing", "layers", len(t.change.Steps),
		"balancedness", before.Balancedness(), "to", after.Balancedness(),
		"slowest_seconds", before.Slowest, "slowest_seconds_to", after.Slowest)
	c.account.change(func(p *Placement) {
		p.Rebalances++
		p.Before, p.After = before.Balancedness(), after.Balancedness()
		p.SlowestBefore, p.SlowestAfter = before.Slowest, after.Slowest
		p.StepsLeft = len(t.change.Steps)
	})
}

// planWriter is PutPlan of membership.Office.
type planWriter func(ctx context.Context, data []byte, prevRevision int64) (int64, error)

// advance writes the next plan of a rebalance once the last one is in place
// everywhere. It gives the rebalance up if the workers or the plan have changed:
// what has been moved by then is a valid plan by itself.
func (c *controller) advance(ctx context.Context, put planWriter, state membership.State) {
	r := c.underway
	if r == nil || !state.Connected {
		return
	}
	plan, err := c.planOf(state)
	if err == nil && plan != nil && plan.Epoch < r.epoch {
		return // the news of our own plan are on their way
	}
	if err != nil || plan == nil || plan.Epoch > r.epoch || !c.standsIn(plan, state) {
		c.log.Info("rebalance given up: workers or plan have changed", "layers_left", len(r.steps))
		c.end()
		return
	}
	if !c.settled(plan, state) {
		return
	}
	if len(r.steps) == 0 {
		c.log.Info("rebalanced", "epoch", plan.Epoch)
		c.end()
		return
	}
	n, bytes := 0, int64(0)
	for n < len(r.steps) && (n == 0 || bytes+r.steps[n].Bytes <= stepBytes) {
		bytes += r.steps[n].Bytes
		n++
	}
	next := r.demand.Apply(plan, r.steps[:n])
	next.Epoch = max(next.Epoch, lastEpoch(state)+1, c.damper.last()+1)
	data, err := next.Encode()
	if err == nil {
		_, err = put(ctx, data, state.PlanRevision)
	}
	if err != nil {
		// The plan that won, or another controller, goes on from what has been moved.
		lost := errors.Is(err, membership.ErrConflict) || errors.Is(err, membership.ErrOusted)
		if !lost && ctx.Err() == nil {
			c.log.Warn("rebalance given up", "err", err)
		}
		c.end()
		return
	}
	c.moved(r, next.Epoch, n)
}

// moved notes that a plan with the next n steps of a rebalance has been written.
func (c *controller) moved(r *rebalancing, epoch uint64, n int) {
	for _, s := range r.steps[:n] {
		c.account.change(func(p *Placement) {
			p.Moves += int64(s.Moves)
			p.MovedBytes += s.Bytes
			p.StepsLeft--
		})
	}
	r.epoch, r.steps = epoch, r.steps[n:]
}

// end ends a rebalance, done or not, if one is under way.
func (c *controller) end() {
	c.underway = nil
	c.account.change(func(p *Placement) { p.StepsLeft = 0 })
}

// atRest returns the plan of a state in which nothing moves and nothing must;
// else nil.
func (c *controller) atRest(state membership.State) *shard.Plan {
	plan, err := c.planOf(state)
	if err != nil || plan == nil || !state.Connected || !c.settled(plan, state) ||
		!c.standsIn(plan, state) {
		return nil
	}
	return plan
}

// standsIn reports whether a plan is right for the workers of a state: those that it is planned
// for, which are not those that are registered while one is waited for or on probation. A plan
// by load stands as one by number does, which is far sooner said.
func (c *controller) standsIn(plan *shard.Plan, state membership.State) bool {
	d := c.demand(c.planned(state), measured{})
	next, err := shard.Next(plan, c.model, d.Layers, d.Workers, d.Copies)
	return err == nil && next == plan
}

// planned is a state with the workers that it is planned for.
func (c *controller) planned(state membership.State) membership.State {
	view, _ := c.damper.view(state, time.Now())
	return view
}

// settled reports whether a plan's workers have what it gives them, and every
// coordinator routes by it.
func (c *controller) settled(plan *shard.Plan, state membership.State) bool {
	for _, id := range plan.Workers {
		if w, ok := state.Workers[string(id)]; !ok || w.PlanEpoch < plan.Epoch {
			return false
		}
	}
	fronts := 0
	for _, k := range state.Coordinators {
		if k.Model != c.model {
			continue
		}
		if k.TableEpoch < plan.Epoch {
			return false
		}
		fronts++
	}
	return fronts > 0
}
