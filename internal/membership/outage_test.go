package membership

import (
	"context"
	"testing"
	"time"
)

func connected(want bool) func(State) bool {
	return func(s State) bool { return s.Connected == want }
}

func TestEtcdRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := startEtcd(t, EmbeddedConfig{Dir: dir})
	addr := first.Endpoint()
	c := connect(t, addr, time.Second)
	states := c.Watch(t.Context())
	r := registerWorker(t, c, Worker{ID: "w1", Zone: "a"})
	if _, err := elect(t, c, "c").PutPlan(soon(t), []byte("plan"), 0); err != nil {
		t.Fatal(err)
	}
	until(t, states, "worker and plan", func(s State) bool {
		return hasWorker("w1")(s) && s.Plan != nil
	})

	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	away := until(t, states, "etcd to be away", connected(false))
	if !hasWorker("w1")(away) || string(away.Plan) != "plan" {
		t.Errorf("the last state was dropped: %+v", away)
	}
	// A change made while etcd is away is not lost.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Update(ctx, func(w *Worker) { w.Zone = "b" }); err == nil {
		t.Error("an update without etcd was reported as written")
	}
	// Longer than the lease: its holder gives it up.
	r.mu.Lock()
	held := r.lease
	r.mu.Unlock()
	closes(t, held.ctx.Done(), "the lease to end")

	startEtcd(t, EmbeddedConfig{Dir: dir, ClientAddr: addr})
	s := until(t, states, "the registration to be restored", func(s State) bool {
		return s.Connected && s.Workers["w1"].Zone == "b"
	})
	if string(s.Plan) != "plan" {
		t.Errorf("plan after the restart: %q", s.Plan)
	}
	if err := r.Update(soon(t), func(w *Worker) { w.Zone = "c" }); err != nil {
		t.Fatal(err)
	}
	until(t, states, "an update after the restart", func(s State) bool {
		return s.Workers["w1"].Zone == "c"
	})
	if isClosed(r.Lost()) {
		t.Error("losing etcd counts as losing the id")
	}
}

// An etcd that comes back empty, with lower revisions, must not leave watchers waiting for the
// old ones, nor with what is gone.
func TestEtcdReplacedByAnEmptyOne(t *testing.T) {
	t.Parallel()
	first := startEtcd(t, EmbeddedConfig{})
	addr := first.Endpoint()
	c := connect(t, addr, time.Second)
	states := c.Watch(t.Context())
	registerWorker(t, c, Worker{ID: "w1"})
	o := elect(t, c, "c")
	rev, err := o.PutPlan(soon(t), []byte("plan"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if rev, err = o.PutPlan(soon(t), []byte("plan"), rev); err != nil {
			t.Fatal(err)
		}
	}
	until(t, states, "the plan", func(s State) bool { return s.PlanRevision == rev })
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	startEtcd(t, EmbeddedConfig{ClientAddr: addr})
	s := until(t, states, "the new etcd", func(s State) bool {
		return s.Connected && s.Plan == nil && hasWorker("w1")(s)
	})
	if s.Revision >= rev {
		t.Errorf("revision %d, want less than the old %d", s.Revision, rev)
	}
}

func TestWatchAcrossCompaction(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	g := newGate(t, e.Endpoint())
	c, far := connect(t, e.Endpoint(), 0), connect(t, g.addr(), 0)
	states := far.Watch(t.Context())
	gone := registerWorker(t, c, Worker{ID: "gone"})
	registerWorker(t, c, Worker{ID: "stays"})
	until(t, states, "both workers", func(s State) bool { return len(s.Workers) == 2 })

	g.set(true, false)
	until(t, states, "etcd to be away", connected(false))
	if err := gone.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	o := elect(t, c, "c")
	rev, err := o.PutPlan(soon(t), []byte("unseen"), 0)
	if err != nil {
		t.Fatal(err)
	}
	rev, err = o.PutPlan(soon(t), []byte("later"), rev)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.etcd.Compact(soon(t), rev); err != nil { // the deletion is history now
		t.Fatal(err)
	}
	g.set(false, false)
	s := until(t, states, "what happened meanwhile", func(s State) bool {
		return s.Connected && string(s.Plan) == "later"
	})
	if len(s.Workers) != 1 || s.PlanRevision != rev {
		t.Errorf("after the compaction: workers %v, plan revision %d, want one and %d",
			s.Workers, s.PlanRevision, rev)
	}
}

// A reader that never reads holds up nobody and then gets the latest state.
func TestWatchIsLatestWins(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	c := connect(t, e.Endpoint(), 0)
	slow, quick := c.Watch(t.Context()), c.Watch(t.Context())
	o := elect(t, c, "c")
	var rev int64
	var err error
	for _, p := range []string{"1", "2", "3", "4"} {
		if rev, err = o.PutPlan(soon(t), []byte(p), rev); err != nil {
			t.Fatal(err)
		}
	}
	until(t, quick, "the last plan", func(s State) bool { return string(s.Plan) == "4" })
	until(t, slow, "the last plan", func(s State) bool { return s.PlanRevision == rev })
	ctx, cancel := context.WithCancel(t.Context())
	ending := c.Watch(ctx)
	cancel()
	for range ending { // ends
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for range slow { // ends
	}
	if _, open := <-c.Watch(t.Context()); open {
		t.Error("a closed client delivers a state")
	}
}

// A record that nobody can read is left out and stops nothing.
func TestWatchIgnoresWhatItCannotRead(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	c := connect(t, e.Endpoint(), 0)
	states := c.Watch(t.Context())
	for _, bad := range []string{"{", `{"id":"else"}`, `{"capacity":"many"}`} {
		if _, err := c.etcd.Put(soon(t), c.keys.worker("bad"), bad); err != nil {
			t.Fatal(err)
		}
	}
	registerWorker(t, c, Worker{ID: "good"})
	s := until(t, states, "the good one", hasWorker("good"))
	if len(s.Workers) != 1 {
		t.Errorf("workers %v, want only the good one", s.Workers)
	}
}
