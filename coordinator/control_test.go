package coordinator

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const thisModel = "fingerprint"

// registry is a state of the registry with the given workers.
func registry(plan *shard.Plan, workers ...membership.Worker) membership.State {
	s := membership.State{Connected: true, Workers: map[string]membership.Worker{}}
	for _, w := range workers {
		w.Model = cmp.Or(w.Model, thisModel)
		s.Workers[w.ID] = w
	}
	if plan != nil {
		data, err := plan.Encode()
		if err != nil {
			panic(err)
		}
		s.Plan = data
	}
	return s
}

func worker(id string) membership.Worker { return membership.Worker{ID: id} }

// owners writes a plan's first layer: "a=0-3 b=4-7".
func owners(p *shard.Plan) string {
	if p == nil {
		return "none"
	}
	var parts []string
	for i, id := range p.Workers {
		parts = append(parts, string(id)+"="+p.Layers[0][i].String())
	}
	return strings.Join(parts, " ")
}

func TestDecide(t *testing.T) {
	layers := []shard.Layer{{Experts: 8, ExpertBytes: 10}}
	decide := func(state membership.State, minWorkers int) (*shard.Plan, error) {
		c := &controller{model: thisModel, layers: layers, minWorkers: minWorkers, log: slog.New(slog.DiscardHandler)}
		return c.decide(state)
	}
	plan := func(workers ...membership.Worker) *shard.Plan {
		p, err := decide(registry(nil, workers...), 1)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	a, b, c := worker("a"), worker("b"), worker("c")
	draining, foreign, small := b, c, c
	draining.Draining, foreign.Model, small.Capacity = true, "another", 10
	two := plan(a, b)
	other := *two
	other.Model, other.Epoch = "another", 7
	for _, k := range []struct {
		name       string
		state      membership.State
		minWorkers int
		want       string
		epoch      uint64
	}{
		{"no workers", registry(nil), 1, "none", 0},
		{"no workers are left", registry(two), 1, "none", 0},
		{"too few for the first plan", registry(nil, a, b), 3, "none", 0},
		{"enough for the first plan", registry(nil, a, b), 2, "a=0-3 b=4-7", 1},
		{"the same workers", registry(two, a, b), 1, "none", 0},
		{"one joins", registry(two, a, b, c), 1, "a=0-2 b=4-6 c=3,7", 2},
		{"one has left", registry(two, a), 3, "a=0-7", 2},
		{"one drains", registry(two, a, draining), 1, "a=0-7", 2},
		{"all drain", registry(two, draining), 1, "none", 0},
		{"another model's worker", registry(two, a, b, foreign), 1, "none", 0},
		{"a small worker joins", registry(two, a, b, small), 1, "a=0-3 b=4-6 c=7", 2},
		{"another model's plan", registry(&other, a, b), 5, "a=0-3 b=4-7", 8},
	} {
		got, err := decide(k.state, k.minWorkers)
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
			continue
		}
		if owners(got) != k.want || got != nil && (got.Epoch != k.epoch || got.Model != thisModel) {
			t.Errorf("%s: %s (%+v), want %s of epoch %d", k.name, owners(got), got, k.want, k.epoch)
		}
	}

	// Two copies of everything, as far as the machines have memory for them.
	twice := &controller{model: thisModel, layers: layers, replicas: 2, log: slog.New(slog.DiscardHandler)}
	half := b
	half.Memory = 80
	for want, state := range map[string]membership.State{
		"a=0-7 b=0-7": registry(nil, a, b),
		"a=0-7 b=0-5": registry(nil, a, half),
	} {
		if p, err := twice.decide(state); err != nil || owners(p) != want {
			t.Errorf("two copies: %s (%v), want %s", owners(p), err, want)
		}
	}

	// The registry came back empty: epochs go on from what processes remember.
	lost := registry(nil, a, b)
	remembers := a
	remembers.Model, remembers.PlanEpoch = thisModel, 41
	lost.Workers["a"] = remembers
	lost.Coordinators = map[string]membership.Coordinator{"front": {ID: "front", Model: thisModel, TableEpoch: 40}}
	if p, err := decide(lost, 1); err != nil || p.Epoch != 42 {
		t.Errorf("lost history: epoch of %+v, want 42 (%v)", p, err)
	}
	mixed := registry(two, a, b, c)
	mixed.Coordinators = map[string]membership.Coordinator{"stranger": {ID: "stranger", Addr: "h:1", Model: "another"}}
	if p, err := decide(mixed, 1); err == nil || !strings.Contains(err.Error(), "--cluster") {
		t.Errorf("a stranger's cluster is planned for: %v, %v", p, err)
	}
	if err := otherModel(mixed, thisModel, "stranger"); err != nil {
		t.Errorf("a restart under the same id with a new model: %v", err)
	}

	var none *shard.NoRoomError
	if _, err := decide(registry(two, small), 1); !errors.As(err, &none) || none.Need != 80 || none.Have != 10 {
		t.Errorf("no room: %v", err)
	}
	broken := registry(nil, a)
	broken.Plan = []byte("{")
	if p, err := decide(broken, 1); err == nil || !strings.Contains(err.Error(), "the registry holds a broken plan") {
		t.Errorf("broken plan: %v, %v", p, err)
	}
}

// The plan of the largest model is far below what the registry takes, even
// when years of changes have scattered its experts.
func TestPlanFitsRegistry(t *testing.T) {
	const layers, experts = 58, 256 // DeepSeek-V3
	for _, workers := range []int{20, 256} {
		p := &shard.Plan{Epoch: 1 << 60, Model: strings.Repeat("f", 64), Layers: make([][]shard.Set, layers)}
		for i := range workers {
			p.Workers = append(p.Workers, shard.WorkerID(fmt.Sprintf("worker-%04d.some.long.domain.example", i)))
		}
		for l := range p.Layers {
			p.Layers[l] = make([]shard.Set, workers)
			for e := range experts {
				p.Layers[l][(e*7+l)%workers].Add(e) // no two neighbours on one worker
			}
		}
		data, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d workers: %d bytes of %d", workers, len(data), membership.MaxPlanBytes)
		if len(data) > membership.MaxPlanBytes/4 {
			t.Errorf("%d workers: the plan takes %d bytes", workers, len(data))
		}
	}
}

// A plan waits for the workers to stay the same, not for them to fall silent.
func TestSameForPlan(t *testing.T) {
	base := func(change func(w *membership.Worker, s *membership.State)) membership.State {
		w, s := worker("a"), registry(nil)
		change(&w, &s)
		w.Model = cmp.Or(w.Model, thisModel)
		s.Workers["a"] = w
		return s
	}
	same := base(func(*membership.Worker, *membership.State) {})
	for name, k := range map[string]struct {
		same   bool
		change func(w *membership.Worker, s *membership.State)
	}{
		"an expert is ready": {true, func(w *membership.Worker, s *membership.State) {
			w.Ready, w.PlanEpoch, s.Revision = []string{"0"}, 7, 9
		}},
		"one drains":    {false, func(w *membership.Worker, _ *membership.State) { w.Draining = true }},
		"another rack":  {false, func(w *membership.Worker, _ *membership.State) { w.Zone = "2" }},
		"a larger host": {false, func(w *membership.Worker, _ *membership.State) { w.Memory = 1 }},
		"one grows":     {false, func(w *membership.Worker, _ *membership.State) { w.Capacity = 1 }},
		"another model": {false, func(w *membership.Worker, _ *membership.State) { w.Model = "another" }},
		"one joins": {false, func(_ *membership.Worker, s *membership.State) {
			s.Workers["b"] = worker("b")
		}},
		"a plan is written": {false, func(_ *membership.Worker, s *membership.State) { s.PlanRevision = 3 }},
		"etcd is away":      {false, func(_ *membership.Worker, s *membership.State) { s.Connected = false }},
		"a stranger leaves": {false, func(_ *membership.Worker, s *membership.State) {
			s.Coordinators = map[string]membership.Coordinator{"front": {Model: "another"}}
		}},
	} {
		if got := sameForPlan(same, base(k.change)); got != k.same {
			t.Errorf("%s: same is %v", name, got)
		}
	}
}
