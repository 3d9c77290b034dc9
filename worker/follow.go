package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-serve/conclave/internal/host"
	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// reportEvery is how often a long load tells the registry what is ready so
// far. More often would make every coordinator rebuild its table for little.
const reportEvery = 500 * time.Millisecond

// loadAgainAfter is the time between tries to read experts from an origin that is away, each of
// which has been patient already. It doubles up to loadAgainMost: what is away or in dispute for
// long needs people, and they one line a minute.
const (
	loadAgainAfter = 5 * time.Second
	loadAgainMost  = time.Minute
)

// follow brings the store in line with every new plan until ctx ends. Where weights come from
// elsewhere and cannot be had now, it keeps what it has and tries again.
func (w *Worker) follow(ctx context.Context, states <-chan membership.State) error {
	again := time.NewTimer(0)
	again.Stop()
	defer again.Stop()
	var state membership.State
	var first []byte // the plan that came first with the present epoch
	var epoch uint64
	var failed []byte // the plan that waits for another try to load it; nil if none does
	wait := loadAgainAfter
	for {
		select {
		case newer, ok := <-states:
			if !ok {
				return nil
			}
			state = newer
			w.state.Store(&newer)
			if failed != nil && bytes.Equal(failed, state.Plan) {
				continue // news of others is no reason to try earlier
			}
		case <-again.C:
		}
		failed = nil
		plan, err := w.planOf(state)
		w.complain(err)
		if plan == nil {
			continue
		}
		if err := w.apply(ctx, plan); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if !errors.Is(err, safetensors.ErrFetch) {
				return err
			}
			w.log.Error("experts not loaded; trying again", "err", err, "wait", wait)
			again.Reset(wait)
			failed, wait = state.Plan, min(2*wait, loadAgainMost)
			continue
		}
		wait = loadAgainAfter
		if plan.Epoch != epoch {
			first, epoch = state.Plan, plan.Epoch
		}
		// A registry without a history may give an epoch twice, and then tables of that epoch
		// say nothing about this plan.
		if !bytes.Equal(first, state.Plan) || !mayFree(w.id.Model, plan.Epoch, state) {
			continue
		}
		if who := unregistered(plan.Epoch, state, w.seat.Gossip.Members()); w.keepsFor(who) {
			again.Reset(keepFor)
			continue
		}
		w.free(ctx, plan)
	}
}

// keepFor is the time between looks at a coordinator for which experts are kept.
const keepFor = 5 * time.Second

// unregistered names a coordinator that lives, by gossip's word, and routes by a table older
// than epoch, though the registry does not know it: its lease is over, because it is cut off
// from etcd. It cannot hear of the plan, and asks for experts where they were. "" if there is none.
func unregistered(epoch uint64, state membership.State, members []membership.Member) string {
	for _, m := range members {
		known := state.Coordinators[m.ID].Incarnation == m.Incarnation
		if m.Role == membership.RoleCoordinator && m.Alive && !known && m.Epoch < epoch {
			return m.ID
		}
	}
	return ""
}

// keepsFor reports whether experts are kept for a coordinator, "" for nobody, and says so once.
// Only follow calls it.
func (w *Worker) keepsFor(who string) bool {
	if who != "" && who != w.keptFor {
		w.log.Warn("experts kept for a coordinator that the registry does not know",
			"coordinator", who)
	}
	w.keptFor = who
	return who != ""
}

// planOf decodes the plan of a state; nil if there is none for this worker's
// checkpoint. A broken plan is not followed, and neither is one that is older than
// what was followed before: the registry has lost its history, and who wrote it had
// not heard of everybody yet. A newer one comes.
func (w *Worker) planOf(state membership.State) (*shard.Plan, error) {
	plan, err := decodePlan(state.Plan, w.id.Model, w.spec)
	if plan != nil && plan.Epoch < w.seat.Registration.Value().PlanEpoch {
		return nil, nil
	}
	return plan, err
}

// complain says what is wrong with the registry's plan, once. Only follow calls it.
func (w *Worker) complain(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != w.brokenPlan && err != nil { // not with every other change
		w.log.Error("the registry holds a broken plan", "err", err)
	}
	w.brokenPlan = text
}

// decodePlan reads a plan and holds it to the checkpoint; nil if data is nil
// or the plan is for another checkpoint.
func decodePlan(data []byte, fingerprint string, spec *model.Spec) (*shard.Plan, error) {
	if data == nil {
		return nil, nil
	}
	plan, err := shard.DecodePlan(data)
	if err != nil || plan.Model != fingerprint {
		return nil, err
	}
	if len(plan.Layers) != len(spec.Layers) {
		return nil, fmt.Errorf("plan of epoch %d has %d layers, the model has %d",
			plan.Epoch, len(plan.Layers), len(spec.Layers))
	}
	for l, sets := range plan.Layers {
		experts := 0
		if moe := spec.Layers[l].MoE; moe != nil {
			experts = len(moe.Experts)
		}
		for i, set := range sets {
			if all := set.Experts(); len(all) > 0 && all[len(all)-1] >= experts {
				return nil, fmt.Errorf("plan of epoch %d gives worker %s expert %d of layer %d, which has %d",
					plan.Epoch, plan.Workers[i], all[len(all)-1], l, experts)
			}
		}
	}
	return plan, nil
}

// apply loads what the plan assigns and is not held yet, and reports it.
func (w *Worker) apply(ctx context.Context, plan *shard.Plan) error {
	held := w.store.Held()
	missing := make([]shard.Set, len(held))
	experts, bytes := 0, int64(0)
	for l, want := range plan.Assigned(shard.WorkerID(w.id.ID)) {
		missing[l] = want.Minus(held[l])
		if n := missing[l].Len(); n > 0 {
			experts += n
			bytes += int64(n) * w.spec.ExpertBytes(w.checkpoint, l)
		}
	}
	if experts == 0 && plan.Epoch == w.seat.Registration.Value().PlanEpoch {
		return nil
	}
	w.events.loading(bytes)
	defer w.restPeers()
	fromOrigin, fromPeers := w.bytesRead()
	reported := time.Now()
	for l, set := range missing {
		if err := w.store.Load(ctx, l, set, w.events.loaded); err != nil {
			return err
		}
		if time.Since(reported) > reportEvery {
			w.report(ctx, w.seat.Registration.Value().PlanEpoch)
			reported = time.Now()
		}
	}
	w.report(ctx, plan.Epoch)
	origin, peers := w.bytesRead()
	w.log.Info("experts ready", "epoch", plan.Epoch, "loaded_bytes", bytes,
		"held_bytes", w.store.Bytes(),
		"origin_bytes", origin-fromOrigin, "peer_bytes", peers-fromPeers)
	w.nodes.Announce()
	w.log.Debug("weights loaded", "huge_page_bytes", host.HugeBytes())
	return nil
}

// mayFree reports whether copies may go that the plan of an epoch does not assign:
// a coordinator says that others serve them, and none that is present does not.
// Where there is no coordinator nobody says so, and what is here may be the last.
func mayFree(model string, epoch uint64, state membership.State) bool {
	return state.Connected && anyCoordinator(model, state) && everyTableHas(epoch, model, state)
}

// free drops what the plan does not assign. Every coordinator has stopped
// routing to those copies; the registry is told before they go, so that a
// coordinator that joins in this moment does not start.
func (w *Worker) free(ctx context.Context, plan *shard.Plan) {
	assigned := plan.Assigned(shard.WorkerID(w.id.ID))
	keep := w.store.Held()
	extra := make([]shard.Set, len(keep))
	n := 0
	for l, set := range keep {
		extra[l] = set
		if l < len(assigned) {
			extra[l] = set.Minus(assigned[l])
		}
		keep[l] = set.Minus(extra[l])
		n += extra[l].Len()
	}
	if n == 0 {
		return
	}
	if !w.reportSets(ctx, plan.Epoch, keep) {
		return
	}
	for l, set := range extra {
		w.store.Drop(l, set)
	}
	w.log.Info("experts dropped", "epoch", plan.Epoch, "experts", n)
}

func (w *Worker) report(ctx context.Context, epoch uint64) {
	w.reportSets(ctx, epoch, w.store.Held())
}

// reportSets tells the registry what is ready and whether it knows now. It
// waits while etcd is away; if ctx ends first, the news stay and are written
// when etcd is back.
func (w *Worker) reportSets(ctx context.Context, epoch uint64, ready []shard.Set) bool {
	text := make([]string, len(ready))
	for l, set := range ready {
		text[l] = set.String()
	}
	err := w.seat.Registration.Update(ctx, func(r *membership.Worker) {
		r.Ready, r.PlanEpoch = text, epoch
	})
	if err != nil && ctx.Err() == nil {
		w.log.Warn("experts not reported", "err", err)
	}
	return err == nil
}

// everyTableHas reports whether all coordinators of the model route by a plan
// of at least the given epoch.
func everyTableHas(epoch uint64, model string, state membership.State) bool {
	for _, c := range state.Coordinators {
		if c.Model == model && c.TableEpoch < epoch {
			return false
		}
	}
	return true
}
