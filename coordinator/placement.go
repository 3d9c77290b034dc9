package coordinator

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// Placement is how evenly the workers are busy, and what has been done about it.
type Placement struct {
	// Balancedness is the mean by the slowest of the workers' times under the
	// present plan and load, by prediction: 1 is even; 0 if no load is known.
	Balancedness float64 `json:"balancedness"`
	// Before and After are the same of the last rebalance that this process made;
	// Slowest… how long the slowest workers compute for a second of the load.
	Before        float64 `json:"before,omitempty"`
	After         float64 `json:"after,omitempty"`
	SlowestBefore float64 `json:"slowest_before_seconds,omitempty"`
	SlowestAfter  float64 `json:"slowest_after_seconds,omitempty"`
	// Rebalances that this process began as controller, how many experts workers
	// loaded for them, and how much that is.
	Rebalances int64 `json:"rebalances"`
	Moves      int64 `json:"moves"`
	MovedBytes int64 `json:"moved_bytes"`
	// StepsLeft is how many layers of the present one are still to come.
	StepsLeft int `json:"steps_left,omitempty"`
}

// account is a Placement that others may read.
type account struct {
	mu  sync.Mutex
	now Placement
}

func (s *account) change(f func(*Placement)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.now)
}

// placement is how the cluster's placement does, as far as this process knows.
func (c *controller) placement() Placement {
	c.account.mu.Lock()
	defer c.account.mu.Unlock()
	return c.account.now
}

// measured is what coordinators have measured.
type measured struct {
	load   shard.Load
	speeds map[shard.WorkerID]float64
}

// measure reads the reports of all coordinators.
func (c *controller) measure(ctx context.Context) (measured, error) {
	ctx, cancel := context.WithTimeout(ctx, max(c.every, time.Second))
	defer cancel()
	texts, err := c.reports(ctx)
	if err != nil {
		return measured{}, err
	}
	var reports []*shard.Report
	for id, text := range texts {
		r, err := shard.DecodeReport(text)
		if err != nil {
			c.log.Warn("ignoring a report", "coordinator", id, "err", err)
			continue
		}
		reports = append(reports, r)
	}
	return measured{
		load:   shard.LoadOf(c.model, c.layers, reports),
		speeds: shard.SpeedsOf(c.model, reports),
	}, nil
}

// survey keeps the balancedness fresh, whoever is elected, until ctx ends.
func (c *controller) survey(ctx context.Context) {
	if c.every <= 0 || c.reports == nil {
		return
	}
	ticker := time.NewTicker(c.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		state := c.present()
		plan, err := c.planOf(state)
		if err != nil || plan == nil {
			continue
		}
		m, err := c.measure(ctx)
		if err != nil {
			continue // the controller tells
		}
		f := c.demand(c.planned(state), m).Forecast(plan)
		c.account.change(func(p *Placement) {
			p.Balancedness = 0
			if f.Slowest > 0 {
				p.Balancedness = f.Balancedness()
			}
		})
	}
}

// planOf decodes the plan of a state; nil if there is none for this model.
func (c *controller) planOf(state membership.State) (*shard.Plan, error) {
	plan, err := lastPlan(state)
	if err != nil || plan == nil || plan.Model != c.model {
		return nil, err
	}
	return plan, nil
}

// lastPlan decodes the plan of a state, of whichever model; nil if there is none.
func lastPlan(state membership.State) (*shard.Plan, error) {
	if state.Plan == nil {
		return nil, nil
	}
	plan, err := shard.DecodePlan(state.Plan)
	if err != nil {
		return nil, fmt.Errorf("the registry holds a broken plan: %w", err)
	}
	return plan, nil
}
