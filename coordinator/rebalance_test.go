package coordinator

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// balanced is a controller without a cluster, and the state that it governs: the
// plans that it writes are in it at once.
type balanced struct {
	*controller
	t       *testing.T
	state   membership.State
	written int
}

// newBalanced begins with an even plan for three workers, one of which has hot
// experts in every layer.
func newBalanced(t *testing.T) *balanced {
	t.Helper()
	b := &balanced{t: t, controller: &controller{
		model: thisModel, replicas: 1, damper: newDamper(thisModel), log: slog.New(slog.DiscardHandler),
		reports: func(context.Context) (map[string][]byte, error) {
			return map[string][]byte{"front": hotReport(t), "broken": []byte("{")}, nil
		},
	}}
	for range 4 {
		b.layers = append(b.layers, shard.Layer{Experts: 12, ExpertBytes: stepBytes})
	}
	b.state = registry(nil, worker("a"), worker("b"), worker("c"))
	b.state.Coordinators = map[string]membership.Coordinator{"front": {ID: "front", Model: thisModel}}
	plan, err := b.decide(b.state)
	if err != nil {
		t.Fatal(err)
	}
	b.write(plan)
	return b
}

// hotReport wants the first four experts of each of four layers most.
func hotReport(t *testing.T) []byte {
	t.Helper()
	r := &shard.Report{Model: thisModel, Speeds: map[shard.WorkerID]float64{"a": 1e10, "b": 1e10}}
	for range 4 {
		var layer shard.LayerLoad
		for e := range 12 {
			reads := float32(10)
			if e < 4 {
				reads = 100
			}
			layer.Rows, layer.Reads = append(layer.Rows, reads), append(layer.Reads, reads)
		}
		r.Layers = append(r.Layers, layer)
	}
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (b *balanced) write(p *shard.Plan) {
	b.t.Helper()
	data, err := p.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.put(b.t.Context(), data, b.state.PlanRevision); err != nil {
		b.t.Fatal(err)
	}
}

func (b *balanced) put(_ context.Context, data []byte, prev int64) (int64, error) {
	if prev != b.state.PlanRevision {
		return 0, membership.ErrConflict
	}
	b.state.Plan = data
	b.state.PlanRevision++
	b.written++
	return b.state.PlanRevision, nil
}

func (b *balanced) plan() *shard.Plan {
	b.t.Helper()
	p, err := b.planOf(b.state)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// settle lets workers load and coordinators route by the plan.
func (b *balanced) settle(who ...string) {
	for _, id := range who {
		if w, ok := b.state.Workers[id]; ok {
			w.PlanEpoch = b.plan().Epoch
			b.state.Workers[id] = w
		}
		if k, ok := b.state.Coordinators[id]; ok {
			k.TableEpoch = b.plan().Epoch
			b.state.Coordinators[id] = k
		}
	}
}

// think looks at the load, as thinker does.
func (b *balanced) think() thought {
	b.t.Helper()
	plan := b.atRest(b.state)
	if plan == nil {
		b.t.Fatal("not at rest")
	}
	thinking := newThinker(b.t.Context(), b.controller)
	thinking.start(plan, b.state)
	thinking.wait()
	return <-thinking.done
}

// insist looks at the load until what it calls for has been so for long enough.
func (b *balanced) insist() {
	b.t.Helper()
	first := b.think()
	b.heed(first, b.state)
	again := b.think()
	again.at = first.at.Add(lasting)
	b.heed(again, b.state)
}

// changed counts the layers in which two plans differ.
func changed(a, b *shard.Plan) int {
	n := 0
	for l := range a.Layers {
		for w := range a.Layers[l] {
			if a.Layers[l][w].String() != b.Layers[l][w].String() {
				n++
				break
			}
		}
	}
	return n
}

// A rebalance goes layer by layer, each only when the last is in place
// everywhere, and then there is nothing more to do.
func TestRebalanceLayerByLayer(t *testing.T) {
	b := newBalanced(t)
	if b.atRest(b.state) != nil {
		t.Fatal("at rest before the first plan is in place")
	}
	b.settle("a", "b", "c", "front")
	first := b.plan()
	b.heed(b.think(), b.state)
	if b.underway != nil {
		t.Fatal("a rebalance at first sight")
	}
	b.insist()
	if b.underway == nil {
		t.Fatal("no rebalance")
	}
	for step := 1; b.underway != nil; step++ {
		before := b.plan()
		b.advance(t.Context(), b.put, b.state)
		if b.underway == nil {
			break
		}
		if n := changed(before, b.plan()); n != 1 || b.plan().Epoch != before.Epoch+1 {
			t.Fatalf("step %d changes %d layers, epoch %d after %d", step, n, b.plan().Epoch, before.Epoch)
		}
		written := b.written
		for _, who := range [][]string{{"a"}, {"b", "c"}} {
			b.settle(who...)
			b.advance(t.Context(), b.put, b.state)
		}
		if b.written != written {
			t.Fatalf("step %d: the next plan did not wait for a coordinator", step)
		}
		b.settle("front")
	}
	p := b.placement()
	if n := changed(first, b.plan()); n != 4 || p.Rebalances != 1 || p.StepsLeft != 0 ||
		p.MovedBytes != p.Moves*stepBytes || p.Moves < 4 || p.After < p.Before+.2 {
		t.Errorf("%d layers changed: %+v", n, p)
	}
	t.Logf("%+v", p)
	if again := b.think(); again.change != nil || again.err != nil {
		t.Errorf("and again: %+v", again)
	}
	if next, err := b.decide(b.state); next != nil || err != nil {
		t.Errorf("even shares come back: %v, %v", owners(next), err)
	}
}

// A worker that comes or goes ends a rebalance, as does a plan of somebody else.
func TestRebalanceGivenUp(t *testing.T) {
	for name, happens := range map[string]func(b *balanced){
		"a worker goes":  func(b *balanced) { delete(b.state.Workers, "c") },
		"a worker joins": func(b *balanced) { b.state.Workers["d"] = membership.Worker{ID: "d", Model: thisModel} },
		"one drains": func(b *balanced) {
			b.state.Workers["c"] = membership.Worker{ID: "c", Model: thisModel, Draining: true}
		},
		"another plan": func(b *balanced) {
			p := *b.plan()
			p.Epoch += 5
			b.write(&p)
		},
		"another controller": func(b *balanced) { b.state.PlanRevision-- },
		"another office":     func(b *balanced) { b.state.PlanRevision-- },
	} {
		b := newBalanced(t)
		b.settle("a", "b", "c", "front")
		b.insist()
		b.advance(t.Context(), b.put, b.state)
		b.settle("a", "b", "c", "front")
		before := b.written
		put := b.put
		if happens(b); name == "another controller" {
			put = func(context.Context, []byte, int64) (int64, error) { return 0, membership.ErrConflict }
		} else if name == "another office" {
			put = func(context.Context, []byte, int64) (int64, error) { return 0, membership.ErrOusted }
		}
		b.advance(t.Context(), put, b.state)
		if extra := b.written - before; b.underway != nil || extra > 1 || extra == 1 && name != "another plan" {
			t.Errorf("%s: the rebalance goes on (%d plans)", name, extra)
		}
	}
	// What was thought of another plan is not heeded, nor what could not be thought.
	b := newBalanced(t)
	b.settle("a", "b", "c", "front")
	old := b.think()
	p := *b.plan()
	p.Epoch++
	b.write(&p)
	b.heed(old, b.state)
	b.heed(thought{err: context.Canceled}, b.state)
	if b.underway != nil {
		t.Error("a thought of an older plan is heeded")
	}
	// etcd is away: nothing is given up, nothing goes on.
	b.settle("a", "b", "c", "front")
	b.insist()
	b.state.Connected = false
	b.advance(t.Context(), b.put, b.state)
	if b.underway == nil || b.atRest(b.state) != nil {
		t.Error("given up while etcd is away")
	}
}

// Who is on probation is no reason against rebalancing the others, and who is waited for only
// holds the next step up.
func TestRebalanceBesideProbation(t *testing.T) {
	b := newBalanced(t)
	b.settle("a", "b", "c", "front")
	b.state.Workers["d"] = membership.Worker{ID: "d", Model: thisModel}
	if b.atRest(b.state) != nil {
		t.Error("at rest beside a new worker")
	}
	until := time.Now().Add(time.Hour)
	b.damper.workers["d"] = &attendance{worker: b.state.Workers["d"], until: until}
	b.insist()
	if b.underway == nil {
		t.Fatal("one on probation keeps the others from it")
	}
	b.advance(t.Context(), b.put, b.state)
	written := b.written
	c := b.state.Workers["c"]
	delete(b.state.Workers, "c")
	b.settle("a", "b", "front")
	lost := b.state.Plan // covered is another test's: here the registry is thought to be empty
	b.damper.workers["c"] = &attendance{worker: c, left: time.Now()}
	b.damper.plan = lost
	for id := range b.state.Workers {
		w := b.state.Workers[id]
		for _, set := range b.plan().Layers {
			all := set[0].Union(set[1]).Union(set[2])
			w.Ready = append(w.Ready, all.String())
		}
		b.state.Workers[id] = w
	}
	b.advance(t.Context(), b.put, b.state)
	if b.underway == nil || b.written != written {
		t.Errorf("%d plans while a worker is waited for, given up: %v", b.written-written, b.underway == nil)
	}
}
