package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// townHall is a registry of its own, seen by a coordinator that the test
// plays.
type townHall struct {
	t           *testing.T
	endpoint    string
	client      *membership.Client
	states      <-chan membership.State
	state       membership.State
	coordinator *membership.Registration[membership.Coordinator]
	office      *membership.Office
	fingerprint string
	spec        *model.Spec
	plan        *shard.Plan
}

func openTownHall(t *testing.T) *townHall {
	t.Helper()
	etcd, err := membership.StartEmbedded(membership.EmbeddedConfig{
		Dir: filepath.Join(t.TempDir(), "etcd"), NoFsync: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := etcd.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &townHall{t: t, endpoint: etcd.Endpoint()}
	if h.client, err = membership.Connect(t.Context(), h.registry()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.client.Close() })
	if h.spec, err = model.Read(checkpointDir); err != nil {
		t.Fatal(err)
	}
	ck, err := safetensors.Open(checkpointDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ck.Close() })
	if h.fingerprint, err = h.spec.Fingerprint(t.Context(), checkpointDir, ck); err != nil {
		t.Fatal(err)
	}
	h.states = h.client.Watch(t.Context())
	h.coordinator, err = h.client.RegisterCoordinator(t.Context(), membership.Coordinator{
		ID: "c", Addr: "h:1", Model: h.fingerprint,
	})
	if err != nil {
		t.Fatal(err)
	}
	if h.office, err = h.client.Campaign(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *townHall) registry() membership.Config {
	return membership.Config{Endpoints: []string{h.endpoint}, Cluster: "test", Timeout: patience}
}

// runningWorker is a worker and how its Run ended.
type runningWorker struct {
	*Worker
	stop  context.CancelFunc
	ended chan error
}

func (h *townHall) start(id string) *runningWorker {
	h.t.Helper()
	return h.startFrom(id, nil)
}

func (h *townHall) startFrom(id string, weights safetensors.Source) *runningWorker {
	h.t.Helper()
	return h.startWith(func(cfg *Config) { cfg.ID, cfg.Weights = id, weights })
}

func (h *townHall) startWith(change func(*Config)) *runningWorker {
	h.t.Helper()
	cfg := Config{
		ModelDir: checkpointDir, Registry: h.registry(), Threads: 1, DrainTimeout: patience,
	}
	change(&cfg)
	w, err := New(h.t.Context(), cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &runningWorker{Worker: w, stop: stop, ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.ended <- w.Run(ctx)
	}()
	h.t.Cleanup(func() { stop(); <-done })
	return r
}

// until reads the registry until accept is true of it.
func (h *townHall) until(what string, accept func(membership.State) bool) {
	h.t.Helper()
	deadline := time.After(patience)
	for !accept(h.state) {
		select {
		case h.state = <-h.states:
		case <-deadline:
			h.t.Fatalf("waiting for %s: %+v", what, h.state)
		}
	}
}

// decree plans the given experts of every layer for each worker.
func (h *townHall) decree(of map[shard.WorkerID]shard.Set) {
	h.t.Helper()
	next := &shard.Plan{Epoch: 1, Model: h.fingerprint}
	if h.plan != nil {
		next.Epoch = h.plan.Epoch + 1
	}
	for id := range of {
		next.Workers = append(next.Workers, id)
	}
	slices.Sort(next.Workers)
	for range h.spec.Layers {
		var sets []shard.Set
		for _, id := range next.Workers {
			sets = append(sets, of[id])
		}
		next.Layers = append(next.Layers, sets)
	}
	data, err := next.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	h.put(data)
	h.plan = next
}

// put writes a plan as it is.
func (h *townHall) put(data []byte) {
	h.t.Helper()
	revision, err := h.office.PutPlan(h.t.Context(), data, h.state.PlanRevision)
	if err != nil {
		h.t.Fatal(err)
	}
	h.until("the plan", func(s membership.State) bool { return s.PlanRevision == revision })
}

// settle says that the coordinator routes by the present plan.
func (h *townHall) settle() {
	h.t.Helper()
	epoch := h.plan.Epoch
	err := h.coordinator.Update(h.t.Context(), func(c *membership.Coordinator) { c.TableEpoch = epoch })
	if err != nil {
		h.t.Fatal(err)
	}
}

// awaitReady waits until a worker has applied the present plan and announces
// exactly these experts for every layer.
func (h *townHall) awaitReady(id, experts string) {
	h.t.Helper()
	h.until("worker "+id+" to be ready for "+experts, func(s membership.State) bool {
		w := s.Workers[id]
		return w.PlanEpoch == h.plan.Epoch && len(w.Ready) == len(h.spec.Layers) &&
			!slices.ContainsFunc(w.Ready, func(got string) bool { return got != experts })
	})
}

func holds(w *runningWorker, experts string) bool {
	return !slices.ContainsFunc(w.store.Held(), func(s shard.Set) bool { return s.String() != experts })
}

// The life of two workers: join, load, hand experts over, leave.
func TestWorkerLife(t *testing.T) {
	all, low, high := shard.NewSet(0, 1, 2, 3, 4, 5, 6, 7), shard.NewSet(0, 1, 2, 3), shard.NewSet(4, 5, 6, 7)
	h := openTownHall(t)
	a := h.start("a")
	h.until("a to join", func(s membership.State) bool { return s.Workers["a"].Addr != "" })
	if got := h.state.Workers["a"]; got.Model != h.fingerprint || got.PlanEpoch != 0 || got.Incarnation != a.id.Incarnation {
		t.Errorf("a registered as %+v", got)
	}
	h.decree(map[shard.WorkerID]shard.Set{"a": all})
	h.awaitReady("a", "0-7")
	h.settle()

	// Plans that cannot be followed are no reason to die, or to change.
	h.put([]byte("no plan"))
	h.put([]byte(`{"epoch":9,"model":"` + h.fingerprint + `","workers":["a"],"layers":[["0-7"]]}`))

	b := h.start("b")
	h.until("b to join", func(s membership.State) bool { return s.Workers["b"].Addr != "" })
	h.decree(map[shard.WorkerID]shard.Set{"a": low, "b": high})
	h.awaitReady("b", "4-7")
	// The coordinator has not settled: a keeps what it may still be asked for,
	// as it says when it has come to the next plan.
	h.awaitReady("a", "0-7")
	h.decree(map[shard.WorkerID]shard.Set{"a": low, "b": high})
	h.awaitReady("a", "0-7")
	if !holds(a, "0-7") {
		t.Errorf("a dropped experts that are in use: %v", a.store.Held())
	}
	h.settle()
	h.awaitReady("a", "0-3")
	await(t, "a to drop what moved", func() bool { return holds(a, "0-3") })

	a.stop()
	h.until("a to drain", func(s membership.State) bool { return s.Workers["a"].Draining })
	h.decree(map[shard.WorkerID]shard.Set{"b": all})
	h.awaitReady("b", "0-7")
	select {
	case err := <-a.ended:
		t.Errorf("a left before the coordinator had let go of it: %v", err)
	default:
	}
	if !holds(a, "0-3") {
		t.Errorf("a draining worker dropped experts: %v", a.store.Held())
	}
	h.settle()
	if err := <-a.ended; err != nil {
		t.Errorf("a ended with %v", err)
	}
	h.until("a to leave", func(s membership.State) bool { return len(s.Workers) == 1 })

	// The last worker has nobody to hand over to and does not wait.
	b.stop()
	if err := <-b.ended; err != nil {
		t.Errorf("b ended with %v", err)
	}
}

// brokenOrigin has the weights of the test's folder, and may be away.
type brokenOrigin struct {
	away   atomic.Bool
	missed chan struct{}
}

func (o *brokenOrigin) Paths(_ context.Context, names ...string) ([]string, error) {
	var paths []string
	for _, name := range names {
		path := filepath.Join(checkpointDir, name)
		if _, err := os.Stat(path); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func (o *brokenOrigin) Fetch(context.Context, []safetensors.Range, func(int64)) error {
	if !o.away.Load() {
		return nil
	}
	select {
	case o.missed <- struct{}{}:
	default:
	}
	return errors.New("the origin is away")
}

func (o *brokenOrigin) Present(safetensors.Range) bool { return true }

// A worker whose weights cannot be had keeps what it serves, and loads the rest later.
func TestOriginAway(t *testing.T) {
	h := openTownHall(t)
	origin := &brokenOrigin{missed: make(chan struct{}, 1)}
	w := h.startFrom("w", origin)
	h.until("it to join", func(s membership.State) bool { return s.Workers["w"].Addr != "" })
	h.decree(map[shard.WorkerID]shard.Set{"w": shard.NewSet(0, 1)})
	h.awaitReady("w", "0-1")
	origin.away.Store(true)
	h.decree(map[shard.WorkerID]shard.Set{"w": shard.NewSet(0, 1, 2)})
	<-origin.missed
	if !holds(w, "0-1") {
		t.Errorf("it holds %v", w.store.Held())
	}
	origin.away.Store(false)
	h.settle() // any news makes it try again at once
	h.awaitReady("w", "0-2")
}

func TestTakeover(t *testing.T) {
	h := openTownHall(t)
	old := h.start("w")
	h.until("the first to join", func(s membership.State) bool {
		return s.Workers["w"].Incarnation == old.id.Incarnation
	})
	fresh := h.start("w")
	err := <-old.ended
	if err == nil || !strings.Contains(err.Error(), "worker w: another process registered under the same id") {
		t.Errorf("the first ended with %v", err)
	}
	h.until("the second to join", func(s membership.State) bool {
		return s.Workers["w"].Incarnation == fresh.id.Incarnation
	})
}

// A worker whose listener breaks must not stay registered.
func TestServingFailureEndsTheWorker(t *testing.T) {
	h := openTownHall(t)
	w := h.start("w")
	h.until("it to join", func(s membership.State) bool { return s.Workers["w"].Addr != "" })
	if err := w.listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-w.ended; err == nil || !strings.Contains(err.Error(), "serve experts on") {
		t.Errorf("it ended with %v", err)
	}
	h.until("it to leave", func(s membership.State) bool { return len(s.Workers) == 0 })
}

func TestNewReportsBadInput(t *testing.T) {
	for says, cfg := range map[string]Config{
		"id and model directory are required": {},
		"config.json":                         {ID: "w", ModelDir: t.TempDir()},
		"listen for coordinators":             {ID: "w", ModelDir: checkpointDir, Listen: "999.999.999.999:1"},
		"listen for metrics":                  {ID: "w", ModelDir: checkpointDir, MetricsListen: "999.999.999.999:1"},
	} {
		if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

func TestDecodePlan(t *testing.T) {
	spec, err := model.Read(mixedDir)
	if err != nil {
		t.Fatal(err)
	}
	layers := func(experts string) string {
		var parts []string
		for _, l := range spec.Layers {
			if l.MoE == nil {
				parts = append(parts, "null")
			} else {
				parts = append(parts, `["`+experts+`"]`)
			}
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	plan := func(model, layers string) []byte {
		return []byte(`{"epoch":3,"model":"` + model + `","workers":["a"],"layers":` + layers + `}`)
	}
	for name, c := range map[string]struct {
		data []byte
		says string // the error; "" for none
		plan bool
	}{
		"none":            {data: nil},
		"another model":   {data: plan("other", layers("0"))},
		"fitting":         {data: plan("m", layers("0-1")), plan: true},
		"not JSON":        {data: []byte("{"), says: "decode plan"},
		"too few layers":  {data: plan("m", `[["0"]]`), says: "has 1 layers, the model has"},
		"experts beyond":  {data: plan("m", layers("0-99")), says: "gives worker a expert 99 of layer"},
		"a dense layer's": {data: plan("m", strings.ReplaceAll(layers(""), "null", `["0"]`)), says: "which has 0"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := decodePlan(c.data, "m", spec)
			if (p != nil) != c.plan || (err != nil) != (c.says != "") {
				t.Fatalf("plan %v, error %v", p, err)
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q", err, c.says)
			}
		})
	}
}

// A copy may be the last one until a coordinator says otherwise.
func TestMayFree(t *testing.T) {
	state := func(epochs ...uint64) membership.State {
		s := membership.State{Connected: true, Coordinators: map[string]membership.Coordinator{
			"x": {Model: "other", TableEpoch: 9},
		}}
		for i, epoch := range epochs {
			s.Coordinators[string(rune('a'+i))] = membership.Coordinator{Model: "m", TableEpoch: epoch}
		}
		return s
	}
	away := state(5)
	away.Connected = false
	for name, c := range map[string]struct {
		state membership.State
		want  bool
	}{
		"all tables have it":          {state(5, 6), true},
		"one table is older":          {state(5, 4), false},
		"etcd is away":                {away, false},
		"no coordinator of the model": {state(), false},
	} {
		if got := mayFree("m", 5, c.state); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMayLeave(t *testing.T) {
	me := Identity{ID: "me", Model: "m"}
	plan := func(workers ...shard.WorkerID) *shard.Plan { return &shard.Plan{Epoch: 5, Workers: workers} }
	state := func(tableEpoch uint64, others ...membership.Worker) membership.State {
		s := membership.State{
			Connected:    true,
			Coordinators: map[string]membership.Coordinator{"c": {Model: "m", TableEpoch: tableEpoch}},
			Workers:      map[string]membership.Worker{"me": {Model: "m", Draining: true}},
		}
		for i, w := range others {
			s.Workers[string(rune('a'+i))] = w
		}
		return s
	}
	other := membership.Worker{Model: "m"}
	away := state(5, other)
	away.Connected = false
	alone := state(5, other)
	alone.Coordinators = map[string]membership.Coordinator{"x": {Model: "other"}}
	two := state(5, other)
	two.Coordinators["late"] = membership.Coordinator{Model: "m", TableEpoch: 4}
	lost := state(5, other)
	lost.Workers["me"] = membership.Worker{Model: "m", Draining: true, PlanEpoch: 5}
	foreign := state(5, other)
	foreign.Coordinators["x"] = membership.Coordinator{Model: "other"}
	for name, c := range map[string]struct {
		plan  *shard.Plan
		state membership.State
		want  string // why it may leave; "" if it may not
	}{
		"etcd is away":                {plan("a"), away, ""},
		"no coordinator":              {plan("me"), alone, "no coordinator"},
		"nobody else":                 {plan("me"), state(5), "no other worker"},
		"the other drains too":        {plan("me"), state(5, membership.Worker{Model: "m", Draining: true}), "no other worker"},
		"the other has another model": {plan("me"), state(5, membership.Worker{Model: "x"}), "no other worker"},
		"still planned":               {plan("a", "me"), state(5, other), ""},
		"the table is older":          {plan("a"), state(4, other), ""},
		"one table is older":          {plan("a"), two, ""},
		"another model's table is":    {plan("a"), foreign, "handed over"},
		"the table is the plan's":     {plan("a"), state(5, other), "handed over"},
		"the table is newer":          {plan("a"), state(6, other), "handed over"},
		"nothing was ever planned":    {nil, state(0, other), "nothing was assigned"},
		"the plan is lost":            {nil, lost, ""},
	} {
		done, why := mayLeave(me, c.plan, c.state, true)
		if done != (c.want != "") || !strings.Contains(why, c.want) {
			t.Errorf("%s: %v, %q; want %q", name, done, why, c.want)
		}
	}
}
