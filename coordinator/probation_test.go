package coordinator

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// drama is a controller whose registry and clock the test plays. What it decides is written at
// once.
type drama struct {
	t       *testing.T
	c       *controller
	now     time.Time
	plan    *shard.Plan
	workers map[string]membership.Worker
	runs    int
}

func newDrama(t *testing.T, replicas int, workers ...string) *drama {
	d := &drama{
		t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), workers: map[string]membership.Worker{},
		c: &controller{
			model: thisModel, layers: []shard.Layer{{Experts: 8, ExpertBytes: 10}}, replicas: replicas,
			damper: newDamper(thisModel), log: slog.New(slog.DiscardHandler),
		},
	}
	for _, id := range workers {
		d.workers[id] = membership.Worker{ID: id, Incarnation: id + "-0"}
	}
	d.see()
	return d
}

// state is the registry, in which every worker serves what the plan gives it.
func (d *drama) state() membership.State {
	var all []membership.Worker
	for _, w := range d.workers {
		if d.plan != nil {
			w.Ready, w.PlanEpoch = nil, d.plan.Epoch
			if mine := d.plan.Assigned(shard.WorkerID(w.ID)); mine != nil {
				w.Ready = []string{mine[0].String()}
			}
		}
		all = append(all, w)
	}
	return registry(d.plan, all...)
}

// see shows the controller the registry as it is, and returns when it wants to look again.
func (d *drama) see() time.Duration {
	d.t.Helper()
	return d.show(d.state())
}

func (d *drama) show(s membership.State) time.Duration {
	d.t.Helper()
	d.c.damper.observe(s, d.now)
	next, again, err := d.c.consider(s, d.now)
	if err != nil {
		d.t.Fatal(err)
	}
	if next != nil {
		d.plan = next
	}
	return again
}

func (d *drama) pass(t time.Duration) { d.now = d.now.Add(t) }

// crash replaces a worker by a new run of it, without its having left the registry.
func (d *drama) crash(id string) {
	d.runs++
	d.workers[id] = membership.Worker{ID: id, Incarnation: fmt.Sprintf("%s-%d", id, d.runs)}
}

func (d *drama) planned(id string) bool {
	for _, set := range d.plan.Assigned(shard.WorkerID(id)) {
		if set.Len() > 0 {
			return true
		}
	}
	return false
}

func (d *drama) expect(what string, epoch uint64, ids ...string) {
	d.t.Helper()
	for _, id := range []string{"a", "b", "c"} {
		want := false
		for _, w := range ids {
			want = want || w == id
		}
		if d.planned(id) != want {
			d.t.Errorf("%s: %s has experts: %v, want %v", what, id, !want, want)
		}
	}
	if d.plan.Epoch != epoch {
		d.t.Errorf("%s: epoch %d, want %d", what, d.plan.Epoch, epoch)
	}
}

func TestVanishedWorkerIsWaitedFor(t *testing.T) {
	d := newDrama(t, 2, "a", "b", "c")
	d.expect("the first plan", 1, "a", "b", "c")
	back := d.workers["c"]
	delete(d.workers, "c")
	if again := d.see(); again != grace {
		t.Errorf("looks again after %v, want %v", again, grace)
	}
	d.expect("c has vanished", 1, "a", "b", "c")
	d.pass(grace - time.Second)
	d.workers["c"] = back
	d.see()
	d.expect("c is back in time", 1, "a", "b", "c")

	delete(d.workers, "c")
	d.see()
	d.pass(grace)
	d.see()
	d.expect("c does not come back", 2, "a", "b")

	// Who has handed over does not come back as it was.
	leaving := d.workers["b"]
	leaving.Draining = true
	d.workers["b"] = leaving
	d.see()
	d.expect("b drains", 3, "a")
}

func TestLastCopyIsNotWaitedFor(t *testing.T) {
	d := newDrama(t, 1, "a", "b")
	delete(d.workers, "b")
	if again := d.see(); again != 0 {
		t.Errorf("looks again after %v", again)
	}
	d.expect("b has vanished", 2, "a")
}

func TestProbation(t *testing.T) {
	d := newDrama(t, 2, "a", "b", "c")
	for range flapLimit - 1 {
		d.pass(time.Second)
		d.crash("c")
		d.see()
	}
	d.expect("a few restarts", 1, "a", "b", "c")
	d.pass(time.Second)
	d.crash("c")
	again := d.see()
	d.expect("one too many", 2, "a", "b")
	if again != firstProbation {
		t.Errorf("looks again after %v, want %v", again, firstProbation)
	}
	if got := d.c.damper.probation("c", d.now); !got.Equal(d.now.Add(firstProbation)) {
		t.Errorf("on probation until %v, now is %v", got, d.now)
	}
	d.pass(firstProbation)
	d.see()
	d.expect("it is over", 3, "a", "b", "c")
	if got := d.c.damper.probation("c", d.now); !got.IsZero() {
		t.Errorf("still on probation until %v", got)
	}

	// Again and again: longer and longer, up to a limit.
	var longest time.Duration
	for range 8 {
		for range flapLimit {
			d.pass(time.Second)
			d.crash("c")
			again = d.see()
		}
		if again < longest || again > lastProbation {
			t.Errorf("probation of %v after one of %v", again, longest)
		}
		longest = again
		d.pass(again)
		d.see()
	}
	if longest != lastProbation {
		t.Errorf("the longest probation is %v, want %v", longest, lastProbation)
	}
	d.pass(flapMemory + time.Second)
	for range flapLimit {
		d.crash("c")
		again = d.see()
	}
	if again != firstProbation {
		t.Errorf("after a quiet time: probation of %v, want %v", again, firstProbation)
	}
}

// Restarts that are far apart, or in order, are nobody's fault; and somebody must have the
// experts.
func TestNoProbation(t *testing.T) {
	d := newDrama(t, 2, "a", "b", "c")
	for range 3 * flapLimit {
		d.pass(flapWindow / 2)
		d.crash("c")
		d.see()
		d.pass(time.Second)
		w := d.workers["c"]
		w.Draining = true
		d.workers["c"] = w
		d.c.damper.observe(d.state(), d.now)
		d.crash("c")
		d.see()
	}
	if !d.planned("c") {
		t.Error("c is on probation")
	}

	alone := newDrama(t, 2, "a")
	for range 3 * flapLimit {
		alone.crash("a")
		alone.see()
	}
	alone.expect("nobody else is there", 1, "a")

	both := newDrama(t, 2, "a", "b", "c")
	for range 3 * flapLimit {
		for _, id := range []string{"b", "c"} {
			both.crash(id)
			both.see()
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		if !both.planned(id) {
			t.Errorf("%s is on probation, though one worker alone has no second copies", id)
		}
	}
}

// An etcd that comes back empty gets the plan that there was, with a greater epoch, though a
// new worker is the first to register.
func TestPlanOutlivesTheRegistry(t *testing.T) {
	d := newDrama(t, 2, "a", "b")
	for range 40 { // some history
		d.plan.Epoch++
	}
	d.see()
	before := *d.plan
	empty := membership.State{Connected: true, Workers: map[string]membership.Worker{}}
	d.show(empty)
	if d.plan.Epoch != before.Epoch {
		t.Errorf("nobody is there, and the plan of epoch %d is written", d.plan.Epoch)
	}
	first := empty
	first.Workers = map[string]membership.Worker{"c": {ID: "c", Incarnation: "c-0", Model: thisModel}}
	d.show(first)
	if d.plan.Epoch <= before.Epoch || !d.planned("a") || !d.planned("b") {
		t.Errorf("a new worker is first: plan %+v after %+v", d.plan, before)
	}
	d.workers["c"] = first.Workers["c"]
	epoch := d.plan.Epoch
	d.see()
	if d.plan.Epoch != epoch {
		t.Errorf("the others are back, and the plan changes from epoch %d to %d", epoch, d.plan.Epoch)
	}

	// Whoever wrote a plan of a low epoch had heard of nobody yet.
	low := *d.plan
	low.Epoch = 1
	stale := d.state()
	stale.Plan = registry(&low).Plan
	d.show(stale)
	if d.plan.Epoch != epoch+1 {
		t.Errorf("over a plan of epoch 1: epoch %d, want %d", d.plan.Epoch, epoch+1)
	}
}

func TestRecall(t *testing.T) {
	worker := func(id, run string) membership.Worker { return membership.Worker{ID: id, Incarnation: run} }
	known := map[string]membership.Worker{
		"alive": worker("alive", "1"), "dead": worker("dead", "1"), "silent": worker("silent", "1"),
		"anew": worker("anew", "1"), "moved": worker("moved", "1"),
	}
	got := recall(known, map[string]membership.Worker{"anew": worker("anew", "2")}, []membership.Member{
		{ID: "alive", Incarnation: "1", Alive: true}, {ID: "dead", Incarnation: "1"},
		{ID: "anew", Incarnation: "1", Alive: true}, {ID: "moved", Incarnation: "2", Alive: true},
	})
	if len(got) != 2 || got["alive"].Incarnation != "1" || got["anew"].Incarnation != "2" {
		t.Errorf("recalled %+v, want alive and the new run of anew", got)
	}
}
