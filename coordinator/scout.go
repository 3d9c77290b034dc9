package coordinator

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/internal/membership"
)

const (
	// scoutEvery is the time between rounds of questions while the registry is out of reach,
	// scoutTimeout the time that a worker has for its answer.
	scoutEvery   = 2 * time.Second
	scoutTimeout = time.Second
	// scoutAtOnce bounds how many are asked at a time.
	scoutAtOnce = 16
)

// scout asks the workers themselves what they serve, over and over until ctx ends, while this
// coordinator is cut off from the registry. The others may not be: experts move on without it,
// and its last state gets old. Whom to ask is what gossip says.
func (c *cluster) scout(ctx context.Context) {
	ticker := time.NewTicker(scoutEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if c.snapshot().Connected {
			continue
		}
		found := c.ask(ctx, c.seat.Gossip.Members())
		select {
		case c.scouted <- found:
		case <-ctx.Done():
			return
		}
	}
}

// ask returns the workers among the members that are alive and serve this checkpoint, as they
// describe themselves.
func (c *cluster) ask(
	ctx context.Context, members []membership.Member,
) map[string]membership.Worker {
	ctx, cancel := context.WithTimeout(ctx, scoutTimeout)
	defer cancel()
	var mu sync.Mutex
	found := map[string]membership.Worker{}
	var wg sync.WaitGroup
	places := make(chan struct{}, scoutAtOnce)
	for _, m := range members {
		if m.Role != membership.RoleWorker || !m.Alive {
			continue
		}
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			is, err := dispatch.Describe(ctx, m.Addr)
			if err != nil || is.Model != c.model || is.ID != m.ID {
				return // its lane says what is wrong
			}
			mu.Lock()
			defer mu.Unlock()
			found[is.ID] = membership.Worker{
				ID: is.ID, Incarnation: is.Incarnation, Addr: m.Addr, Model: is.Model, Ready: is.Ready,
			}
		})
	}
	wg.Wait()
	return found
}

// recall adds to a state the workers that are not in the registry, though gossip says that they
// live: it may have lost them, and they serve what they served. While the registry is out of
// reach, what workers said themselves counts instead. Also returned is what gossip says of
// everybody.
func (c *cluster) recall(state membership.State) (membership.State, []membership.Member) {
	members := c.seat.Gossip.Members()
	if state.Connected {
		c.found = nil
	}
	c.known = recall(c.known, state.Workers, members)
	maps.Copy(c.known, c.found)
	state.Workers = c.known
	return state, members
}

// recall returns the registered workers, and those of the known that are alive all the same.
func recall(
	known, registered map[string]membership.Worker, members []membership.Member,
) map[string]membership.Worker {
	all := make(map[string]membership.Worker, len(registered))
	for _, m := range members {
		if w, ok := known[m.ID]; ok && m.Alive && w.Incarnation == m.Incarnation {
			all[m.ID] = w
		}
	}
	maps.Copy(all, registered)
	return all
}
