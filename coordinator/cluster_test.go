package coordinator

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// testCluster is a cluster without a registry or gossip, and what it logs.
func testCluster() (*cluster, *bytes.Buffer) {
	var log bytes.Buffer
	return &cluster{
		model: thisModel, layers: 2, log: slog.New(slog.NewTextHandler(&log, nil)), settled: make(chan uint64, 1),
	}, &log
}

func TestView(t *testing.T) {
	ready := func(id string, layers ...string) membership.Worker {
		return membership.Worker{ID: id, Incarnation: id + "1", Addr: id + ":1", Ready: layers}
	}
	good, short, long := ready("good", "0-2", "5"), ready("short", "1"), ready("long", "", "2", "9")
	foreign := ready("foreign", "0", "0")
	foreign.Model = "another"
	state := registry(nil, good, short, long, foreign,
		ready("words", "0", "everything"), ready("reversed", "3-1"), ready("huge", "0-999999999999"))
	c, log := testCluster()
	plan, workers := c.view(state, []membership.Member{
		{ID: "good", Incarnation: "good0", Alive: false}, // of its last life
		{ID: "good", Incarnation: "good1", Alive: true},
		{ID: "short", Incarnation: "short1", Alive: false},
	})
	if plan != nil {
		t.Errorf("plan %+v of a registry without one", plan)
	}
	got := map[shard.WorkerID]dispatch.Worker{}
	for _, w := range workers {
		got[w.ID] = w
	}
	if len(workers) != 3 {
		t.Errorf("workers %+v, want good, short and long", workers)
	}
	for id, want := range map[shard.WorkerID][]string{"good": {"0-2", "5"}, "short": {"1", ""}, "long": {"", "2"}} {
		var sets []string
		for _, s := range got[id].Ready {
			sets = append(sets, s.String())
		}
		if !slices.Equal(sets, want) {
			t.Errorf("%s serves %q, want %q", id, sets, want)
		}
	}
	if got["good"].Suspect || !got["short"].Suspect || got["long"].Suspect {
		t.Errorf("suspects: %+v", workers)
	}
	if w := got["good"]; w.Addr != "good:1" || w.Incarnation != "good1" {
		t.Errorf("good is %+v", w)
	}
	for _, id := range []string{"words", "reversed", "huge"} {
		if !strings.Contains(log.String(), `of="worker `+id) {
			t.Errorf("nothing is logged of %s: %s", id, log)
		}
	}
}

func TestViewPlan(t *testing.T) {
	mine := &shard.Plan{Epoch: 3, Model: thisModel, Workers: []shard.WorkerID{"a"}}
	other := &shard.Plan{Epoch: 4, Model: "another", Workers: []shard.WorkerID{"a"}}
	c, log := testCluster()
	if p, _ := c.view(registry(mine), nil); p == nil || p.Epoch != 3 {
		t.Errorf("plan %+v", p)
	}
	if p, _ := c.view(registry(other), nil); p != nil {
		t.Errorf("another model's plan: %+v", p)
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", log)
	}
	broken := registry(nil)
	broken.Plan = []byte(`{"workers":["b","a"]}`)
	if p, _ := c.view(broken, nil); p != nil || !strings.Contains(log.String(), "of=plan") {
		t.Errorf("broken plan: %+v, logged %q", p, log)
	}
}

// The newest epoch is what the registry is told, and telling never blocks.
func TestAnnounce(t *testing.T) {
	c, _ := testCluster()
	for epoch := range uint64(5) {
		c.announce(epoch)
	}
	if got := <-c.settled; got != 4 {
		t.Errorf("epoch %d is told, want 4", got)
	}
}

// TestOtherQuantisations refuses coordinators that would answer otherwise, by the flag's name.
func TestOtherQuantisations(t *testing.T) {
	none, q8 := shard.QuantNone, shard.QuantInt8
	for _, c := range []struct {
		name                         string
		theirs, own                  shard.Quant // of experts
		theirAttention, ownAttention string
		wantExperts, wantOwn         string
	}{
		{name: "alike", theirs: q8, own: q8, theirAttention: "int4", ownAttention: "int4"},
		{name: "before there was any", ownAttention: "none"},
		{name: "experts", theirs: q8, own: none, ownAttention: "none",
			wantExperts: "coordinator a at h:1 holds experts in int8, this one in none: give both the same --experts-quant"},
		{name: "activations", theirs: q8, own: q8.Rounded(), ownAttention: "none",
			wantExperts: "experts in int8, this one in int8,activations=int8: give both the same --experts-quant and --activations"},
		{name: "attention", theirAttention: "int4", ownAttention: "int8",
			wantOwn: "coordinator a at h:1 holds its own weights in int4, this one in int8: give both the same --attention-quant"},
	} {
		state := membership.State{Coordinators: map[string]membership.Coordinator{"a": {
			ID: "a", Addr: "h:1", Model: c.theirs.Model("f"), Quant: c.theirAttention,
		}}}
		own := membership.Coordinator{ID: "b", Model: c.own.Model("f"), Quant: c.ownAttention}
		check := func(err error, want string) {
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", c.name, err, want)
			}
		}
		check(otherModel(state, own.Model, own.ID), c.wantExperts)
		check(otherQuant(state, own), c.wantOwn)
	}
}
