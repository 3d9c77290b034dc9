package membership

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func hasWorker(id string) func(State) bool {
	return func(s State) bool { _, ok := s.Workers[id]; return ok }
}

func lacksWorker(id string) func(State) bool {
	return func(s State) bool { return !hasWorker(id)(s) }
}

func TestRegisterUpdateLeave(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	c, other := connect(t, e.Endpoint(), 0), connect(t, e.Endpoint(), 0)
	states := other.Watch(t.Context())
	first := until(t, states, "the first state", func(State) bool { return true })
	if !first.Connected || first.Revision == 0 || len(first.Workers) != 0 || first.Plan != nil {
		t.Errorf("first state of an empty registry: %+v", first)
	}

	w := Worker{
		ID: "w1", Incarnation: "a", Addr: "h:1", Gossip: "h:2", Zone: "z", Model: "m",
		Capacity: 1 << 40, Ready: []string{"0-7", ""}, PlanEpoch: 3,
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	r := registerWorker(t, c, w)
	s := until(t, states, "worker w1", hasWorker("w1"))
	if diff := cmp.Diff(w, s.Workers["w1"]); diff != "" {
		t.Errorf("worker read back (-want +got):\n%s", diff)
	}
	k, err := c.RegisterCoordinator(t.Context(), Coordinator{ID: "c1", Addr: "h:3"})
	if err != nil {
		t.Fatal(err)
	}
	s2 := until(t, states, "coordinator c1", func(s State) bool {
		return s.Coordinators["c1"].Addr == "h:3"
	})
	if got := s2.Coordinators["c1"]; got.Incarnation == "" || got.Started.IsZero() {
		t.Errorf("incarnation and start were not filled in: %+v", got)
	}

	err = r.Update(soon(t), func(w *Worker) { w.PlanEpoch, w.Draining = 4, true })
	if err != nil {
		t.Fatal(err)
	}
	s3 := until(t, states, "the update", func(s State) bool { return s.Workers["w1"].Draining })
	if s3.Workers["w1"].PlanEpoch != 4 || r.Value().PlanEpoch != 4 {
		t.Errorf("epoch after update: %d and %d, want 4",
			s3.Workers["w1"].PlanEpoch, r.Value().PlanEpoch)
	}
	if s.Workers["w1"].Draining {
		t.Error("an earlier snapshot changed")
	}
	if err := r.Update(soon(t), func(w *Worker) { w.ID = "w2" }); err == nil {
		t.Error("an update of the id was accepted")
	}

	began := time.Now()
	if err := r.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	until(t, states, "w1 to leave", lacksWorker("w1"))
	if took := time.Since(began); took > defaultLeaseTTL/2 {
		t.Errorf("a clean leave took %v: it waited for the lease", took)
	}
	if err := r.Close(soon(t)); err != nil {
		t.Errorf("second close: %v", err)
	}
	if isClosed(r.Lost()) {
		t.Error("close counts as lost")
	}
	if err := r.Update(soon(t), func(*Worker) {}); !errors.Is(err, ErrClosed) {
		t.Errorf("update after close: %v, want ErrClosed", err)
	}
	if err := k.Close(soon(t)); err != nil {
		t.Error(err)
	}
}

func TestBadIDs(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	c := connect(t, e.Endpoint(), 0)
	for _, id := range []string{"", "a/b", string(make([]byte, 129))} {
		if _, err := c.RegisterWorker(soon(t), Worker{ID: id}); err == nil {
			t.Errorf("id %q was accepted", id)
		}
	}
}

func TestKilledClientVanishesAfterItsLease(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	c, other := connect(t, e.Endpoint(), time.Second), connect(t, e.Endpoint(), 0)
	states := other.Watch(t.Context())
	registerWorker(t, c, Worker{ID: "w1"})
	until(t, states, "worker w1", hasWorker("w1"))
	if err := c.Close(); err != nil { // revokes nothing
		t.Fatal(err)
	}
	until(t, states, "w1 to vanish", lacksWorker("w1"))
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	before, after := connect(t, e.Endpoint(), 0), connect(t, e.Endpoint(), 0)
	states := after.Watch(t.Context())
	old := registerWorker(t, before, Worker{ID: "w1", Incarnation: "old"})
	began := time.Now()
	renewed := registerWorker(t, after, Worker{ID: "w1", Incarnation: "new"})
	if took := time.Since(began); took > defaultLeaseTTL/2 {
		t.Errorf("takeover took %v: it waited for the lease", took)
	}
	closes(t, old.Lost(), "the old incarnation to notice")
	if err := old.Update(soon(t), func(*Worker) {}); !errors.Is(err, ErrTaken) {
		t.Errorf("update after a takeover: %v, want ErrTaken", err)
	}
	// Revoking the old lease must not touch the key, which hangs on the new one.
	if err := old.Close(soon(t)); err != nil {
		t.Error(err)
	}
	if err := renewed.Update(soon(t), func(w *Worker) { w.Zone = "z" }); err != nil {
		t.Fatal(err)
	}
	s := until(t, states, "the new incarnation", func(s State) bool {
		return s.Workers["w1"].Zone == "z"
	})
	if got := s.Workers["w1"].Incarnation; got != "new" {
		t.Errorf("incarnation %q, want new", got)
	}
	if isClosed(renewed.Lost()) {
		t.Error("the new incarnation is lost")
	}
}

// An owner that was cut off for longer than its lease finds its successor and gives way.
func TestReturningOwnerGivesWay(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	g := newGate(t, e.Endpoint())
	far, near := connect(t, g.addr(), time.Second), connect(t, e.Endpoint(), 0)
	states := near.Watch(t.Context())
	old := registerWorker(t, far, Worker{ID: "w1", Incarnation: "old"})
	g.set(true, false)
	until(t, states, "the old one to vanish", func(s State) bool {
		return s.Revision > 1 && lacksWorker("w1")(s)
	})
	successor := registerWorker(t, near, Worker{ID: "w1", Incarnation: "new"})
	g.set(false, false)
	closes(t, old.Lost(), "the old one to give way")
	if err := successor.Update(soon(t), func(w *Worker) { w.Zone = "z" }); err != nil {
		t.Errorf("the successor was disturbed: %v", err)
	}
}

// A lease that is dropped behind the owner's back (an operator, an etcd restored from a backup)
// comes back, unless a later incarnation is there by then.
func TestRevokedLease(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	c := connect(t, e.Endpoint(), 0)
	states := c.Watch(t.Context())
	r := registerWorker(t, c, Worker{ID: "w1"})
	s := until(t, states, "worker w1", hasWorker("w1"))
	r.mu.Lock()
	id := r.lease.id
	r.mu.Unlock()
	if _, err := c.etcd.Revoke(soon(t), id); err != nil {
		t.Fatal(err)
	}
	again := until(t, states, "w1 to come back", func(now State) bool {
		return now.Revision > s.Revision+1 && hasWorker("w1")(now)
	})
	if again.Workers["w1"].Incarnation != s.Workers["w1"].Incarnation {
		t.Errorf("came back as %+v", again.Workers["w1"])
	}
}

func TestConnectNamesTheEndpoint(t *testing.T) {
	t.Parallel()
	_, err := Connect(t.Context(), Config{
		Endpoints: []string{"127.0.0.1:1"}, Timeout: 300 * time.Millisecond,
	})
	if err == nil {
		t.Fatal("connected to nothing")
	}
	wantWords(t, err, "127.0.0.1:1", "300ms", "refused")
	_, err = Connect(t.Context(), Config{})
	if err == nil {
		t.Fatal("connected without endpoints")
	}
	wantWords(t, err, "no endpoints")
}
