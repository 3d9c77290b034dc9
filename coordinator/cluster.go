package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// cluster is this coordinator's seat in the registry and in gossip. It keeps
// the dispatcher's view of the workers fresh.
type cluster struct {
	model  string
	layers int
	log    *slog.Logger

	seat    *membership.Seat[membership.Coordinator]
	settled chan uint64 // buffer 1, latest wins
	damper  *damper

	scouted chan map[string]membership.Worker
	// known are the workers that live, found those that said so themselves since the registry
	// is out of reach. follow owns both.
	known, found map[string]membership.Worker

	mu    sync.Mutex
	state membership.State
	said  map[string]string // the last complaints, by what they are of
}

// claim refuses a cluster whose coordinators serve another checkpoint, or the
// same one otherwise: one plan cannot place two models. It warns of workers
// that cannot be asked because they hold experts otherwise.
func claim(
	ctx context.Context, client *membership.Client, own membership.Coordinator, log *slog.Logger,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for state := range client.Watch(ctx) {
		warnOfWorkers(state, own.Model, log)
		return cmp.Or(otherModel(state, own.Model, own.ID), otherQuant(state, own))
	}
	return fmt.Errorf("read the registry: %w", ctx.Err())
}

// otherModel returns an error if a coordinator other than id serves another
// checkpoint, or the same one with experts held otherwise.
func otherModel(state membership.State, model, id string) error {
	fingerprint, experts := shard.SplitModel(model)
	for _, k := range state.Coordinators {
		theirs, theirExperts := shard.SplitModel(k.Model)
		switch {
		case k.ID == id:
		case theirs != fingerprint:
			return fmt.Errorf("coordinator %s at %s serves another checkpoint (%.12s, this one is %.12s): "+
				"give one of them a --cluster of its own", k.ID, k.Addr, theirs, fingerprint)
		case theirExperts != experts:
			return fmt.Errorf("coordinator %s at %s holds experts in %s, this one in %s: "+
				"give both the same --experts-quant and --activations, or one a --cluster of its own",
				k.ID, k.Addr, theirExperts, experts)
		}
	}
	return nil
}

// otherQuant returns an error if another coordinator holds its own weights
// otherwise: the same request would get other answers there.
func otherQuant(state membership.State, own membership.Coordinator) error {
	for _, k := range state.Coordinators {
		if quant := cmp.Or(k.Quant, shard.QuantNone.String()); k.ID != own.ID && quant != own.Quant {
			return fmt.Errorf("coordinator %s at %s holds its own weights in %s, this one in %s: "+
				"give both the same --attention-quant and --activations, or one a --cluster of its own",
				k.ID, k.Addr, quant, own.Quant)
		}
	}
	return nil
}

// warnOfWorkers tells of workers of this checkpoint that hold experts otherwise.
func warnOfWorkers(state membership.State, own string, log *slog.Logger) {
	model, experts := shard.SplitModel(own)
	for _, w := range state.Workers {
		if theirs, quant := shard.SplitModel(w.Model); theirs == model && quant != experts {
			log.Warn("a worker is of no use here: start it with the same --experts-quant and --activations",
				"worker", w.ID, "addr", w.Addr, "experts_quant", quant, "own", experts)
		}
	}
}

// announce is the dispatcher's OnSettled: it must not block.
func (c *cluster) announce(epoch uint64) {
	for {
		select {
		case c.settled <- epoch:
			return
		default:
		}
		select {
		case <-c.settled:
		default:
		}
	}
}

// follow feeds the dispatcher, and tells the others by gossip how many requests
// wait here, until ctx ends.
func (c *cluster) follow(ctx context.Context, d *dispatch.Dispatcher, e *engine.Engine) {
	states := c.seat.Client.Watch(ctx)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case state, ok := <-states:
			if !ok {
				return
			}
			c.mu.Lock()
			c.state = state
			c.mu.Unlock()
			c.damper.observe(state, time.Now())
			d.Update(c.view(c.recall(state)))
		case c.found = <-c.scouted:
			d.Update(c.view(c.recall(c.snapshot())))
		case event := <-c.seat.Gossip.Events():
			if event.Kind != membership.EventUpdate {
				d.Update(c.view(c.recall(c.snapshot())))
			}
		case <-ticker.C:
			c.seat.Gossip.SetMeta(c.seat.Registration.Value().TableEpoch,
				membership.Load{Queue: float32(e.Stats().Waiting)})
		case epoch := <-c.settled:
			c.publish(epoch)
		case <-ctx.Done():
			return
		}
	}
}

// publish tells the registry that no step of this process uses a table older
// than epoch. It does not wait for etcd: the registration writes by itself.
func (c *cluster) publish(epoch uint64) {
	if c.seat.Registration.Value().TableEpoch >= epoch {
		return
	}
	err := c.seat.Registration.Post(func(r *membership.Coordinator) { r.TableEpoch = epoch })
	if err != nil {
		c.log.Error("epoch not published", "epoch", epoch, "err", err)
	}
}

func (c *cluster) snapshot() membership.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// view is what the dispatcher needs of a state: the plan and the workers of
// this checkpoint, with the opinion of gossip's members of them.
func (c *cluster) view(
	state membership.State, members []membership.Member,
) (*shard.Plan, []dispatch.Worker) {
	var plan *shard.Plan
	if state.Plan != nil {
		p, err := shard.DecodePlan(state.Plan)
		switch {
		case err != nil:
			c.complain("plan", err)
		case p.Model == c.model:
			plan = p
		}
	}
	dead := map[string]bool{}
	for _, m := range members {
		dead[m.Incarnation] = !m.Alive
	}
	var workers []dispatch.Worker
	for _, w := range state.Workers {
		if w.Model != c.model {
			continue
		}
		ready, err := readySets(w.Ready, c.layers)
		if err != nil {
			c.complain("worker "+w.ID, err)
			continue
		}
		workers = append(workers, dispatch.Worker{
			ID: shard.WorkerID(w.ID), Incarnation: w.Incarnation, Addr: w.Addr,
			Ready: ready, Suspect: dead[w.Incarnation],
		})
	}
	return plan, workers
}

// complain says what is wrong with a key of the registry, unless that was said last: the
// registry is looked at again with every change.
func (c *cluster) complain(of string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if text := err.Error(); c.said[of] != text {
		if c.said == nil {
			c.said = map[string]string{}
		}
		c.said[of] = text
		c.log.Error("the registry holds what cannot be read", "of", of, "err", err)
	}
}

func readySets(text []string, layers int) ([]shard.Set, error) {
	sets := make([]shard.Set, layers)
	for l := range min(layers, len(text)) {
		s, err := shard.ParseSet(text[l], shard.MaxExperts)
		if err != nil {
			return nil, err
		}
		sets[l] = s
	}
	return sets, nil
}

// peers lists whom this process should gossip with.
func (c *cluster) peers() []string { return c.snapshot().GossipPeers() }
