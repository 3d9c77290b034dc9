package worker

import (
	"context"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// orderTimeout bounds what is written about an order when it is done with; the next
// incarnation does it otherwise.
const orderTimeout = 2 * time.Second

// obey carries out the operator's orders for this worker until ctx ends. It closes
// dismissed when the worker was ordered to leave and has handed its experts over.
func (w *Worker) obey(
	ctx context.Context, states <-chan membership.State, dismissed chan<- struct{},
) {
	var last membership.Order // the one that holds
	for state := range states {
		if !state.Connected {
			continue
		}
		order := state.Orders[w.id.ID]
		if order.Do == "" && last.Do != "" {
			w.give(ctx, last) // only an order ends another: the registry has lost it
			continue
		}
		last = order
		switch {
		case order.Do == "":
		case order.Do == membership.OrderKeep:
			w.setDraining(ctx, true)
		case order.Do == membership.OrderLeave && order.Incarnation == w.id.Incarnation:
			w.setDraining(ctx, true)
			plan, _ := w.planOf(state) // follow complains of a broken one
			if done, how := mayLeave(w.id, plan, state, order.Force); done {
				w.log.Info("leaving as ordered", "because", how)
				w.fulfilled(order)
				close(dismissed)
				return
			}
		case order.Do == membership.OrderLeave: // meant for an earlier run, which has left
			w.fulfilled(order)
			last = membership.Order{}
		default:
			w.setDraining(ctx, false)
			w.fulfilled(order)
			last = membership.Order{}
		}
	}
}

// setDraining tells the controller whether this worker takes experts.
func (w *Worker) setDraining(ctx context.Context, draining bool) {
	if w.seat.Registration.Value().Draining == draining {
		return
	}
	w.log.Info("ordered by the operator", "draining", draining)
	err := w.seat.Registration.Update(ctx, func(r *membership.Worker) { r.Draining = draining })
	if err != nil && ctx.Err() == nil {
		w.log.Warn("draining not reported", "err", err)
	}
}

func (w *Worker) give(ctx context.Context, order membership.Order) {
	if err := w.seat.Client.PutOrder(ctx, w.id.ID, order); err != nil && ctx.Err() == nil {
		w.log.Warn("order not remembered", "err", err)
	}
}

// fulfilled deletes an order that was carried out.
func (w *Worker) fulfilled(order membership.Order) {
	ctx, cancel := context.WithTimeout(context.Background(), orderTimeout)
	defer cancel()
	if err := w.seat.Client.DeleteOrder(ctx, w.id.ID, order.Revision); err != nil {
		w.log.Warn("order not deleted", "err", err)
	}
}

// drain hands this worker's experts over: it asks to be left out of the plan
// and returns when no coordinator needs it any more, or ctx ends.
func (w *Worker) drain(ctx context.Context) {
	err := w.seat.Registration.Update(ctx, func(r *membership.Worker) { r.Draining = true })
	if err != nil {
		w.log.Warn("leaving without handing over", "err", err)
		return
	}
	states := w.seat.Client.Watch(ctx)
	for {
		select {
		case <-w.seat.Registration.Lost():
			w.log.Warn("leaving without handing over: the id was taken over")
			return
		case state, ok := <-states:
			if !ok {
				w.log.Warn("leaving before all experts were handed over: the drain timeout is over")
				return
			}
			plan, _ := w.planOf(state) // follow has complained of a broken one
			if done, how := mayLeave(w.id, plan, state, true); done {
				w.log.Info("leaving", "because", how)
				return
			}
		}
	}
}

// mayLeave reports whether a draining worker has nothing to wait for any more,
// and why. plan is the state's, nil if there is none for the worker's model. With
// force it also leaves when nobody can take its experts.
func mayLeave(
	id Identity, plan *shard.Plan, state membership.State, force bool,
) (done bool, why string) {
	switch {
	case !state.Connected:
		return false, ""
	case !anyCoordinator(id.Model, state):
		return force, "there is no coordinator"
	case !hasSuccessor(id, state):
		return force, "there is no other worker to hand over to"
	case plan == nil && state.Workers[id.ID].PlanEpoch == 0:
		return true, "nothing was assigned"
	case plan == nil: // the registry lost it, and a new one comes
		return false, ""
	case plan.Assigned(shard.WorkerID(id.ID)) != nil || !everyTableHas(plan.Epoch, id.Model, state):
		return false, ""
	}
	return true, "all experts are handed over"
}

func anyCoordinator(model string, state membership.State) bool {
	for _, c := range state.Coordinators {
		if c.Model == model {
			return true
		}
	}
	return false
}

func hasSuccessor(self Identity, state membership.State) bool {
	for id, other := range state.Workers {
		if id != self.ID && other.Model == self.Model && !other.Draining {
			return true
		}
	}
	return false
}
