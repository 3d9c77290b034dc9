package membership

import (
	"context"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/memberlist"
	"pgregory.net/rapid"
)

func gossip(t *testing.T, cfg GossipConfig) *Gossip {
	t.Helper()
	if cfg.Role == "" {
		cfg.Role = RoleWorker
	}
	g, err := JoinGossip(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return g
}

func join(t *testing.T, g *Gossip, to *Gossip) {
	t.Helper()
	if n, err := g.Join([]string{to.Addr()}); n != 1 || err != nil {
		t.Fatalf("join: reached %d, %v", n, err)
	}
}

func event(kind EventKind, id string) func(Event) bool {
	return func(e Event) bool { return e.Kind == kind && e.Member.ID == id }
}

func find(g *Gossip, id string) Member {
	all := g.Members()
	i := slices.IndexFunc(all, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}
	}
	return all[i]
}

func TestGossipJoinMetaLeave(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef")
	c := gossip(t, GossipConfig{ID: "c", Role: RoleCoordinator, Addr: "c:80", Key: key})
	w := gossip(t, GossipConfig{ID: "w", Incarnation: "run1", Addr: "w:1", Key: key})
	join(t, w, c)
	got := until(t, c.Events(), "w alive", event(EventAlive, "w")).Member
	want := Member{ID: "w", Incarnation: "run1", Role: RoleWorker, Addr: "w:1", Alive: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("member (-want +got):\n%s", diff)
	}
	if e := until(t, w.Events(), "c alive", event(EventAlive, "c")); e.Member.Role != RoleCoordinator {
		t.Errorf("c is seen as %+v", e.Member)
	}
	// Peers that are known cost nothing and count; so does the own address.
	if n, err := w.Join([]string{c.Addr(), w.Addr()}); n != 2 || err != nil {
		t.Errorf("second join: %d, %v, want 2", n, err)
	}
	w.SetMeta(7, Load{Queue: 2.5})
	e := until(t, c.Events(), "the load of w", func(e Event) bool { return e.Member.Epoch == 7 })
	if e.Kind != EventUpdate || e.Member.Load != (Load{Queue: 2.5}) {
		t.Errorf("update: %+v", e)
	}
	if m := find(c, "w"); m != e.Member {
		t.Errorf("members has %+v, the event had %+v", m, e.Member)
	}
	if m := find(w, "w"); m.Epoch != 7 || !m.Alive {
		t.Errorf("w sees itself as %+v", m)
	}
	if err := w.Leave(patience); err != nil {
		t.Error(err)
	}
	until(t, c.Events(), "w to leave", event(EventDead, "w"))
	if m := find(c, "w"); m.Alive || m.Addr != "w:1" {
		t.Errorf("after leaving, w is seen as %+v", m)
	}
}

func TestGossipNoticesADeath(t *testing.T) {
	t.Parallel()
	a := gossip(t, GossipConfig{ID: "a"})
	b := gossip(t, GossipConfig{ID: "b"})
	c := gossip(t, GossipConfig{ID: "c"})
	join(t, b, a)
	join(t, c, a)
	met := map[string]bool{}
	until(t, a.Events(), "b and c", func(e Event) bool {
		met[e.Member.ID] = e.Kind == EventAlive
		return met["b"] && met["c"]
	})
	until(t, b.Events(), "c", event(EventAlive, "c"))
	began := time.Now()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, a.Events(), "c dead", event(EventDead, "c"))
	t.Logf("death noticed after %v", time.Since(began).Round(time.Millisecond))
	until(t, b.Events(), "c dead", event(EventDead, "c"))
	if !find(a, "b").Alive {
		t.Error("b was taken for dead too")
	}
	for range c.Events() { // ends with Close
	}
}

// A process that restarts under its id is seen at once, while the run before still counts as
// alive, and the death of that one is no death of the new one.
func TestGossipRestartUnderTheSameID(t *testing.T) {
	t.Parallel()
	a := gossip(t, GossipConfig{ID: "a"})
	before := gossip(t, GossipConfig{ID: "w", Incarnation: "1", Addr: "old"})
	join(t, before, a)
	until(t, a.Events(), "w", event(EventAlive, "w"))
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	after := gossip(t, GossipConfig{ID: "w", Incarnation: "2", Addr: "new"})
	join(t, after, a)
	until(t, a.Events(), "the new run", func(e Event) bool {
		if e.Kind == EventDead {
			t.Errorf("unexpected %+v", e)
		}
		return e.Member.Incarnation == "2"
	})
	name := nodeName("w", "1")
	settled := func() bool {
		a.roster.mu.Lock()
		defer a.roster.mu.Unlock()
		_, old := a.roster.nodes[name]
		return !old
	}
	// The old run is found dead in silence: drive the metadata until that has happened.
	for epoch := uint64(1); !settled(); epoch++ {
		after.SetMeta(epoch, Load{})
		e := until(t, a.Events(), "news of w", func(e Event) bool { return e.Member.ID == "w" })
		if e.Kind == EventDead || e.Member.Addr != "new" {
			t.Fatalf("unexpected %+v", e)
		}
	}
	if m := find(a, "w"); !m.Alive || m.Addr != "new" {
		t.Errorf("w is seen as %+v", m)
	}
}

func TestGossipKeepsStrangersOut(t *testing.T) {
	t.Parallel()
	a := gossip(t, GossipConfig{ID: "a", Key: []byte("0123456789abcdef")})
	for name, cfg := range map[string]GossipConfig{
		"another key":     {ID: "b", Key: []byte("fedcba9876543210")},
		"no key":          {ID: "b"},
		"another cluster": {ID: "b", Cluster: "other", Key: []byte("0123456789abcdef")},
	} {
		b := gossip(t, cfg)
		if n, err := b.Join([]string{a.Addr()}); err == nil {
			t.Errorf("%s: joined %d", name, n)
		} else {
			wantWords(t, err, a.Addr())
		}
	}
	if all := a.Members(); len(all) != 1 {
		t.Errorf("members %+v, want only a", all)
	}
}

func TestGossipRefusesItsConfig(t *testing.T) {
	t.Parallel()
	_, err := JoinGossip(GossipConfig{
		Role: "boss", Addr: strings.Repeat("x", 300), Key: []byte("short"), Port: 70000,
	})
	if err == nil {
		t.Fatal("joined with a config that is all wrong")
	}
	wantWords(t, err, "id is empty", `"boss"`, "300 bytes", "5 bytes", "70000")
	// memberlist would listen on all interfaces instead.
	_, err = JoinGossip(GossipConfig{
		ID: "a", Role: RoleWorker, BindAddr: "localhost", AdvertiseAddr: "1.2.3.4:5",
	})
	if err == nil {
		t.Fatal("joined on an address that is none")
	}
	wantWords(t, err, `"localhost"`, `"1.2.3.4:5"`)
}

// The reader of events may be as slow as it likes: memberlist's callbacks return, and of each
// member the latest news waits.
func TestRosterNeverBlocks(t *testing.T) {
	t.Parallel()
	r := newRoster("self", slog.New(slog.DiscardHandler))
	out := make(chan Event)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.pump(ctx, out)
	}()
	nodeOf := func(id string, epoch uint64) *memberlist.Node {
		return &memberlist.Node{
			Name: nodeName(id, "1"), Meta: meta{role: RoleWorker, epoch: epoch}.encode(),
		}
	}
	for epoch := range uint64(1000) {
		r.NotifyJoin(nodeOf("a", epoch))
		r.NotifyUpdate(nodeOf("b", epoch))
		r.NotifyUpdate(nodeOf("self", epoch))
	}
	r.NotifyLeave(nodeOf("b", 0))
	r.NotifyJoin(&memberlist.Node{Name: "foreign"})
	r.NotifyJoin(&memberlist.Node{Name: "bad/1", Meta: []byte{9}})
	want := []Event{
		{EventAlive, Member{ID: "a", Incarnation: "1", Role: RoleWorker, Epoch: 999, Alive: true}},
		{EventDead, Member{ID: "b", Incarnation: "1", Role: RoleWorker, Epoch: 999}},
	}
	var got []Event
	for range want {
		got = append(got, until(t, out, "an event", func(Event) bool { return true }))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	cancel()
	closes(t, stopped, "the pump to stop")
	if len(r.queue) != 0 {
		t.Errorf("left in the queue: %+v", r.queue)
	}
}

// Whatever the order of the news, of two runs of one process the later one counts.
func TestRosterPrefersTheLaterRun(t *testing.T) {
	t.Parallel()
	r := newRoster("self", slog.New(slog.DiscardHandler))
	run := func(incarnation string, started int64) *memberlist.Node {
		return &memberlist.Node{
			Name: nodeName("w", incarnation), Meta: meta{started: started}.encode(),
		}
	}
	for _, step := range []struct {
		do    func(*memberlist.Node)
		node  *memberlist.Node
		now   string // incarnation in Members
		alive bool
		event EventKind
		none  bool // no event
	}{
		{do: r.NotifyJoin, node: run("2", 2), now: "2", alive: true, event: EventAlive},
		{do: r.NotifyJoin, node: run("1", 1), now: "2", alive: true, none: true},
		{do: r.NotifyJoin, node: run("3", 3), now: "3", alive: true, event: EventAlive},
		{do: r.NotifyLeave, node: run("2", 2), now: "3", alive: true, none: true},
		{do: r.NotifyLeave, node: run("3", 3), now: "1", alive: true, event: EventAlive},
		{do: r.NotifyLeave, node: run("1", 1), now: "1", event: EventDead},
	} {
		r.queue = nil
		step.do(step.node)
		m := r.members()[0]
		if m.Incarnation != step.now || m.Alive != step.alive {
			t.Errorf("after %s: %+v, want run %s", step.node.Name, m, step.now)
		}
		switch e, ok := r.head(); {
		case step.none && ok:
			t.Errorf("after %s: unexpected %v", step.node.Name, e)
		case !step.none && (!ok || e.Kind != step.event || e.Member != m):
			t.Errorf("after %s: event %v, want %v", step.node.Name, e, step.event)
		}
	}
}

func TestMetaFitsAndComesBack(t *testing.T) {
	t.Parallel()
	largest := meta{role: RoleWorker, addr: strings.Repeat("x", maxAddrBytes)}
	if n := len(largest.encode()); n > memberlist.MetaMaxSize {
		t.Errorf("the largest metadata has %d bytes, memberlist panics over %d",
			n, memberlist.MetaMaxSize)
	}
	rapid.Check(t, func(t *rapid.T) {
		m := meta{
			role:    rapid.SampledFrom(roles).Draw(t, "role"),
			epoch:   rapid.Uint64().Draw(t, "epoch"),
			load:    Load{rapid.Float32().Draw(t, "queue")},
			started: rapid.Int64().Draw(t, "started"),
			addr:    rapid.String().Draw(t, "addr"),
		}
		got, err := decodeMeta(m.encode())
		if err != nil || !reflect.DeepEqual(m, got) {
			t.Fatalf("wrote %+v, read %+v, %v", m, got, err)
		}
	})
	nan := float32(math.NaN())
	if got, err := decodeMeta(meta{load: Load{nan}}.encode()); err != nil || got.load != (Load{}) {
		t.Errorf("load that is no number was read as %+v, %v", got.load, err)
	}
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add(meta{role: RoleWorker, addr: "a:1"}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMeta(b); err == nil {
			if again, err := decodeMeta(m.encode()); err != nil || again != m {
				t.Errorf("%+v was read again as %+v, %v", m, again, err)
			}
		}
	})
}
