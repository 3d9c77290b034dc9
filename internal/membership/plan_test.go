package membership

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestPlanIsComparedAndSwapped(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	c := connect(t, e.Endpoint(), 0)
	o := elect(t, c, "c")
	r1, err := o.PutPlan(soon(t), []byte("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.PutPlan(soon(t), []byte("other"), 0); !errors.Is(err, ErrConflict) {
		t.Errorf("second first plan: %v, want ErrConflict", err)
	}
	// The same bytes are a conflict too when nothing was repeated: somebody else put them.
	if _, err := o.PutPlan(soon(t), []byte("one"), 0); !errors.Is(err, ErrConflict) {
		t.Errorf("same plan over revision 0: %v, want ErrConflict", err)
	}
	r2, err := o.PutPlan(soon(t), []byte("two"), r1)
	if err != nil || r2 <= r1 {
		t.Fatalf("second plan: revision %d after %d, %v", r2, r1, err)
	}
	s := until(t, c.Watch(t.Context()), "the plan", func(State) bool { return true })
	if string(s.Plan) != "two" || s.PlanRevision != r2 {
		t.Errorf("watched plan %q at %d, want two at %d", s.Plan, s.PlanRevision, r2)
	}
	for _, size := range []int{0, MaxPlanBytes + 1} {
		if _, err := o.PutPlan(soon(t), make([]byte, size), r2); err == nil {
			t.Errorf("a plan of %d bytes was accepted", size)
		}
	}
	if _, err := o.PutPlan(soon(t), make([]byte, MaxPlanBytes), r2); err != nil {
		t.Errorf("a plan of the largest size: %v", err)
	}
}

// The answer to the first attempt is lost; the repetition finds that it was taken.
func TestPlanWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	g := newGate(t, e.Endpoint())
	near, far := connect(t, e.Endpoint(), 0), connect(t, g.addr(), 0)
	o := elect(t, far, "far")
	g.set(false, true)
	type result struct {
		revision int64
		err      error
	}
	done := make(chan result, 1)
	go func() {
		rev, err := o.PutPlan(soon(t), []byte("plan"), 0)
		done <- result{rev, err}
	}()
	s := until(t, near.Watch(t.Context()), "the plan to arrive", func(s State) bool {
		return s.Plan != nil
	})
	g.set(true, false)
	g.set(false, false)
	r := until(t, done, "the answer", func(result) bool { return true })
	if r.err != nil || r.revision != s.PlanRevision {
		t.Errorf("revision %d, %v; want %d", r.revision, r.err, s.PlanRevision)
	}
}

func TestElectionHandover(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	a, b := connect(t, e.Endpoint(), 2*time.Second), connect(t, e.Endpoint(), 2*time.Second)
	officeA := elect(t, a, "a")
	states := b.Watch(t.Context())
	until(t, states, "a to lead", func(s State) bool { return s.Controller == "a" })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Campaign(ctx, "b"); !errors.Is(err, context.Canceled) {
		t.Errorf("a campaign that was given up: %v", err)
	}

	elected := make(chan *Office, 1)
	go func() {
		office, err := b.Campaign(soon(t), "b")
		if err != nil {
			t.Error(err)
		}
		elected <- office
	}()
	officeA.Resign()
	officeA.Resign()
	officeB := until(t, elected, "b to be elected", func(o *Office) bool { return o != nil })
	if !isClosed(officeA.Lost()) {
		t.Error("a resigned and still thinks it leads")
	}
	until(t, states, "b to lead", func(s State) bool { return s.Controller == "b" })
	officeB.Resign()
	until(t, states, "the office to be vacant", func(s State) bool { return s.Controller == "" })
}

// A controller that is cut off hears of it without etcd, and another one takes over. (That it
// lets go before its lease ends is TestHolderLetsGoFirst's.)
func TestControllerIsCutOff(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	g := newGate(t, e.Endpoint())
	a, b := connect(t, g.addr(), 2*time.Second), connect(t, e.Endpoint(), 2*time.Second)
	officeA := elect(t, a, "a")
	g.set(true, false)
	closes(t, officeA.Lost(), "a to step down")
	officeB := elect(t, b, "b")
	g.set(false, false)
	officeA.Resign() // too late, and no harm
	s := until(t, b.Watch(t.Context()), "a state", func(State) bool { return true })
	if s.Controller != "b" {
		t.Errorf("controller %q, want b", s.Controller)
	}
	officeB.Resign()
}
