package coordinator

import (
	"context"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// thinker looks for rebalances beside the controller, which must not miss a worker
// that goes meanwhile.
type thinker struct {
	ctx    context.Context
	c      *controller
	ticker *time.Ticker // nil: never
	busy   bool         // from start until done has been read; owned by govern
	paces  paces        // owned by whatever is under way
	wg     sync.WaitGroup
	done   chan thought
}

// thought is what comes of a look at the load.
type thought struct {
	at       time.Time
	measured measured
	epoch    uint64 // of the plan that was looked at
	demand   *shard.Demand
	change   *shard.Rebalance // nil: none
	err      error
}

func newThinker(ctx context.Context, c *controller) *thinker {
	t := &thinker{ctx: ctx, c: c, done: make(chan thought, 1)}
	if c.every > 0 && c.reports != nil {
		t.ticker = time.NewTicker(c.every)
	}
	return t
}

func (t *thinker) ticks() <-chan time.Time {
	if t.ticker == nil {
		return nil
	}
	return t.ticker.C
}

// wait ends thinking.
func (t *thinker) wait() {
	if t.ticker != nil {
		t.ticker.Stop()
	}
	t.wg.Wait()
}

// start looks at the load on a plan, unless it is still busy with that.
func (t *thinker) start(plan *shard.Plan, state membership.State) {
	if t.busy {
		return
	}
	t.busy = true
	t.wg.Go(func() {
		out := thought{at: time.Now(), epoch: plan.Epoch}
		if out.measured, out.err = t.c.measure(t.ctx); out.err == nil {
			out.measured.speeds = t.paces.smooth(out.measured.speeds, out.at)
			out.demand = t.c.demand(t.c.planned(state), out.measured)
			out.change = out.demand.Rebalance(plan)
		}
		t.done <- out
	})
}
