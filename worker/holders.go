package worker

import (
	"slices"
	"strings"
	"sync"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// peer is another worker of the same checkpoint.
type peer struct{ id, incarnation, addr string }

// holders tells which other workers have an expert, as the registry says.
type holders struct {
	self  Identity
	state func() *membership.State

	mu    sync.Mutex
	of    *membership.State     // what ready was read from
	ready map[peer][]*shard.Set // per layer, nil until somebody asks
	// plan is that of the revision planned, nil if it is not of this model.
	planned int64
	plan    *shard.Plan
}

// list names who has an expert, in the order of their ids.
func (h *holders) list(layer, expert int) []peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	state := h.state()
	if state == nil {
		return nil
	}
	if state != h.of {
		h.of, h.ready = state, map[peer][]*shard.Set{}
	}
	var list []peer
	for id, w := range state.Workers {
		if id == h.self.ID || w.Model != h.self.Model || layer >= len(w.Ready) {
			continue
		}
		p := peer{id, w.Incarnation, w.Addr}
		if h.ready[p] == nil {
			h.ready[p] = make([]*shard.Set, len(w.Ready))
		}
		set := h.ready[p][layer]
		if set == nil {
			read, err := shard.ParseSet(w.Ready[layer], shard.MaxExperts)
			if err != nil {
				read = shard.Set{} // whatever it holds, it cannot be asked for it
			}
			set = &read
			h.ready[p][layer] = set
		}
		if set.Has(expert) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b peer) int { return strings.Compare(a.id, b.id) })
	return list
}

// both lists those who have an expert and those who are to have it by the plan: who has it next may
// have its bytes already.
func (h *holders) both(layer, expert int) []peer {
	list := h.list(layer, expert)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil || h.of.Plan == nil {
		return list
	}
	if h.planned != h.of.PlanRevision {
		h.planned, h.plan = h.of.PlanRevision, nil
		if plan, err := shard.DecodePlan(h.of.Plan); err == nil && plan.Model == h.self.Model {
			h.plan = plan
		}
	}
	if h.plan == nil || layer >= len(h.plan.Layers) {
		return list
	}
	for i, set := range h.plan.Layers[layer] {
		id := string(h.plan.Workers[i])
		w, registered := h.of.Workers[id]
		p := peer{id, w.Incarnation, w.Addr}
		if registered && id != h.self.ID && w.Model == h.self.Model && set.Has(expert) &&
			!slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}
