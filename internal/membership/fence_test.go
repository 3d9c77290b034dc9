package membership

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// A controller that is cut off while it writes is ousted when its lease may end, and what it
// meant to write never arrives, though the plan's revision is the one that it compares with.
func TestOustedControllerCannotWrite(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	g := newGate(t, e.Endpoint())
	a, b := connect(t, g.addr(), 2*time.Second), connect(t, e.Endpoint(), 2*time.Second)
	officeA := elect(t, a, "a")
	rev, err := officeA.PutPlan(soon(t), []byte("by a"), 0)
	if err != nil {
		t.Fatal(err)
	}
	g.set(true, false)
	if _, err := officeA.PutPlan(soon(t), []byte("cut off"), rev); !errors.Is(err, ErrOusted) {
		t.Errorf("a plan without a connection: %v, want ErrOusted", err)
	}
	officeB := elect(t, b, "b")
	g.set(false, false)
	if _, err := officeA.PutPlan(soon(t), []byte("late"), rev); !errors.Is(err, ErrOusted) {
		t.Errorf("a plan out of office: %v, want ErrOusted", err)
	}
	// a does not know yet that it was ousted, as after a long sleep: etcd refuses it.
	w := planWrite{keys: a.keys, office: officeA.lease.id, data: []byte("asleep"), prev: rev}
	if err := w.attempt(soon(t), a.etcd); err != nil || !errors.Is(w.verdict, ErrOusted) {
		t.Errorf("a plan after a sleep: %v, verdict %v, want ErrOusted", err, w.verdict)
	}
	if _, err := officeB.PutPlan(soon(t), []byte("by b"), rev); err != nil {
		t.Errorf("the new controller's plan: %v", err)
	}
	officeB.Resign()
	// Nobody is in office: the last one does not get it back by writing.
	w = planWrite{keys: a.keys, office: officeA.lease.id, data: []byte("vacant"), prev: rev}
	if err := w.attempt(soon(t), a.etcd); err != nil || !errors.Is(w.verdict, ErrOusted) {
		t.Errorf("a plan while nobody is in office: %v, verdict %v, want ErrOusted", err, w.verdict)
	}
	s := until(t, b.Watch(t.Context()), "a state", func(State) bool { return true })
	if string(s.Plan) != "by b" {
		t.Errorf("plan %q, want what b wrote", s.Plan)
	}
}

// An empty etcd knows nothing of an office held in the one before.
func TestOfficeEndsWithItsHistory(t *testing.T) {
	t.Parallel()
	first := startEtcd(t, EmbeddedConfig{})
	addr := first.Endpoint()
	c := connect(t, addr, time.Second)
	old := elect(t, c, "c")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	startEtcd(t, EmbeddedConfig{ClientAddr: addr})
	if _, err := old.PutPlan(soon(t), []byte("old"), 0); !errors.Is(err, ErrOusted) {
		t.Errorf("a plan by the old office: %v, want ErrOusted", err)
	}
	if _, err := elect(t, c, "c").PutPlan(soon(t), []byte("new"), 0); err != nil {
		t.Errorf("a plan by the new office: %v", err)
	}
}

// Three candidates whose ways to etcd break and heal all the time write plans as fast as they
// can. What is written are the terms of offices one after the other: nobody writes again once
// another one has.
func TestPlansAreWrittenTermByTerm(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	reader := connect(t, e.Endpoint(), 0)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	var gates []*gate
	for i := range 3 {
		g := newGate(t, e.Endpoint())
		gates = append(gates, g)
		c := connect(t, g.addr(), time.Second)
		wg.Go(func() { writePlans(ctx, c, fmt.Sprintf("c%d", i)) })
	}
	// The watch is read event by event: a State shows only the last.
	changes := reader.etcd.Watch(ctx, reader.keys.plan())
	var term string
	ended := map[string]bool{}
	for terms := 0; terms < 6; {
		select {
		case resp, open := <-changes:
			if !open {
				t.Fatal("the watch broke")
			}
			for _, event := range resp.Events {
				var by string
				if _, err := fmt.Sscan(string(event.Kv.Value), &by); err != nil {
					t.Fatal(err)
				}
				if by == term {
					continue
				}
				ended[term] = true
				if ended[by] {
					t.Fatalf("%s writes again, after %s had", by, term)
				}
				term = by
				terms++
				// Whoever is in office is cut off, the others are let through.
				for i, g := range gates {
					g.set(by[:2] == fmt.Sprintf("c%d", i), false)
				}
			}
		case <-time.After(patience):
			t.Fatalf("no plan after %d terms", terms)
		}
	}
	for _, g := range gates {
		g.set(false, false)
	}
}

// writePlans seeks office and writes plans that name the term until ctx ends.
func writePlans(ctx context.Context, c *Client, id string) {
	for term := 0; ctx.Err() == nil; term++ {
		office, err := c.Campaign(ctx, id)
		if err != nil {
			continue
		}
		var rev int64
		for n := 0; ctx.Err() == nil; n++ {
			next, err := office.PutPlan(ctx, fmt.Appendf(nil, "%s.%d %d", id, term, n), rev)
			if errors.Is(err, ErrOusted) {
				break
			}
			if rev = next; err == nil {
				continue
			}
			if found, err := c.etcd.Get(ctx, c.keys.plan()); err == nil && len(found.Kvs) > 0 {
				rev = found.Kvs[0].ModRevision
			}
		}
		office.Resign()
	}
}
