package worker

import (
	"testing"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

func (h *townHall) order(id string, o membership.Order) {
	h.t.Helper()
	if err := h.client.PutOrder(h.t.Context(), id, o); err != nil {
		h.t.Fatal(err)
	}
}

func draining(id string, want bool) func(membership.State) bool {
	return func(s membership.State) bool {
		return s.Workers[id].Addr != "" && s.Workers[id].Draining == want
	}
}

// An operator empties a worker, which remembers that across a restart and an order that the
// registry lost, takes it back, and lets it leave.
func TestOrders(t *testing.T) {
	all := shard.NewSet(0, 1, 2, 3, 4, 5, 6, 7)
	h := openTownHall(t)
	a, b := h.start("a"), h.start("b")
	h.until("both to join", func(s membership.State) bool { return len(s.Workers) == 2 })
	h.decree(map[shard.WorkerID]shard.Set{"a": all, "b": all})
	h.awaitReady("a", "0-7")
	h.awaitReady("b", "0-7")
	h.settle()

	h.order("b", membership.Order{Do: membership.OrderKeep})
	h.until("b to drain", draining("b", true))
	h.decree(map[shard.WorkerID]shard.Set{"a": all})
	h.settle()
	h.awaitReady("b", "")
	lost := h.state.Orders["b"]
	if err := h.client.DeleteOrder(t.Context(), "b", lost.Revision); err != nil {
		t.Fatal(err)
	}
	h.until("b to remember", func(s membership.State) bool {
		o := s.Orders["b"]
		return o.Do == membership.OrderKeep && o.Revision != lost.Revision
	})
	b.stop()
	if err := <-b.ended; err != nil {
		t.Errorf("b ended with %v", err)
	}
	b = h.start("b")
	h.until("b to be back", func(s membership.State) bool {
		w := s.Workers["b"]
		if w.Incarnation == b.id.Incarnation && !w.Draining {
			t.Error("a worker that is to stay empty asks for experts when it starts")
		}
		return w.Incarnation == b.id.Incarnation
	})
	h.order("b", membership.Order{Do: membership.OrderServe})
	h.until("b to serve again", func(s membership.State) bool {
		return draining("b", false)(s) && s.Orders["b"].Do == ""
	})
	h.decree(map[shard.WorkerID]shard.Set{"a": all, "b": all})
	h.awaitReady("b", "0-7")
	h.settle()

	// An order for an earlier run of it means nothing.
	h.order("a", membership.Order{Do: membership.OrderLeave, Incarnation: "before"})
	h.until("a to decline", func(s membership.State) bool { return s.Orders["a"].Do == "" })
	h.order("a", membership.Order{Do: membership.OrderLeave, Incarnation: a.id.Incarnation})
	h.until("a to drain", draining("a", true))
	if isOver(a) {
		t.Error("a left before anybody took over")
	}
	h.decree(map[shard.WorkerID]shard.Set{"b": all})
	h.awaitReady("b", "0-7")
	h.settle()
	if err := <-a.ended; err != nil {
		t.Errorf("a ended with %v", err)
	}
	h.until("a to be gone", func(s membership.State) bool {
		return s.Workers["a"].Addr == "" && s.Orders["a"].Do == ""
	})

	// The last one leaves only if that is insisted on.
	leave := membership.Order{Do: membership.OrderLeave, Incarnation: b.id.Incarnation}
	h.order("b", leave)
	h.until("b to drain", draining("b", true))
	if isOver(b) {
		t.Error("the last worker left")
	}
	leave.Force = true
	h.order("b", leave)
	if err := <-b.ended; err != nil {
		t.Errorf("b ended with %v", err)
	}
}

// A registry without history may hold a plan whose writer knew little. Nothing is dropped by it.
func TestOldPlanIsNotFollowed(t *testing.T) {
	all, low := shard.NewSet(0, 1, 2, 3, 4, 5, 6, 7), shard.NewSet(0, 1, 2, 3)
	h := openTownHall(t)
	h.plan = &shard.Plan{Epoch: 40}
	a := h.start("a")
	h.until("a to join", func(s membership.State) bool { return s.Workers["a"].Addr != "" })
	h.decree(map[shard.WorkerID]shard.Set{"a": all})
	h.awaitReady("a", "0-7")
	h.settle()
	for _, epoch := range []uint64{1, 41} { // an older one, and another of the same number
		h.plan = &shard.Plan{Epoch: epoch - 1}
		h.decree(map[shard.WorkerID]shard.Set{"a": low, "b": all})
		// The worker has seen this plan when it has seen a later order.
		before := h.state.Revision
		h.order("a", membership.Order{Do: membership.OrderServe})
		h.until("a to look", func(s membership.State) bool {
			return s.Orders["a"].Do == "" && s.Revision >= before+2 // given, and deleted
		})
		if !holds(a, "0-7") {
			t.Errorf("epoch %d: a dropped what tables still ask for", epoch)
		}
	}
	h.plan = &shard.Plan{Epoch: 41}
	h.decree(map[shard.WorkerID]shard.Set{"a": low})
	h.settle()
	h.awaitReady("a", "0-3")
	if w := h.state.Workers["a"]; w.PlanEpoch != 42 {
		t.Errorf("a follows epoch %d, want 42", w.PlanEpoch)
	}
}

func isOver(w *runningWorker) bool {
	select {
	case err := <-w.ended:
		w.ended <- err
		return true
	default:
		return false
	}
}

// What a coordinator may still ask for stays, though only gossip knows that it is there.
func TestUnregistered(t *testing.T) {
	state := membership.State{Coordinators: map[string]membership.Coordinator{
		"here": {Incarnation: "1"}, "back": {Incarnation: "2"},
	}}
	member := func(id, incarnation string, epoch uint64, alive bool) membership.Member {
		return membership.Member{
			ID: id, Incarnation: incarnation, Role: membership.RoleCoordinator, Epoch: epoch, Alive: alive,
		}
	}
	worker := member("worker", "1", 3, true)
	worker.Role = membership.RoleWorker
	for _, c := range []struct {
		name   string
		member membership.Member
		want   string
	}{
		{"a registered one is asked through the registry", member("here", "1", 3, true), ""},
		{"one that is cut off", member("gone", "1", 3, true), "gone"},
		{"one that is cut off and knows the plan", member("gone", "1", 4, true), ""},
		{"one that is dead", member("gone", "1", 3, false), ""},
		{"an earlier run that still lives", member("back", "1", 3, true), "back"},
		{"a worker", worker, ""},
	} {
		if got := unregistered(4, state, []membership.Member{c.member}); got != c.want {
			t.Errorf("%s: experts are kept for %q, want %q", c.name, got, c.want)
		}
	}
}
