package membership

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSeat(t *testing.T) {
	etcd := startEtcd(t, EmbeddedConfig{})
	cfg := Config{Endpoints: []string{etcd.Endpoint()}, Cluster: "test", Timeout: patience}
	g := GossipConfig{ID: "w1", Role: RoleWorker, Addr: "a:1"}
	states := connect(t, etcd.Endpoint(), 5*time.Second).Watch(t.Context())

	// What fails leaves nothing behind: goleak looks for the rest.
	refused := errors.New("refused")
	_, err := TakeSeat(t.Context(), cfg, g,
		func(*Client, string) (*Registration[Worker], error) { return nil, refused })
	if !errors.Is(err, refused) {
		t.Fatalf("error %v, want %v", err, refused)
	}
	nowhere := Config{Endpoints: []string{"127.0.0.1:1"}} // what is wrong is said before it is asked
	for _, g := range []GossipConfig{{Role: RoleWorker}, {ID: "a/b", Role: RoleWorker}} {
		if _, err := TakeSeat[Worker](t.Context(), nowhere, g, nil); err == nil ||
			!strings.Contains(err.Error(), "join gossip: id ") {
			t.Fatalf("a seat with the id %q: %v", g.ID, err)
		}
	}

	seat, err := TakeSeat(t.Context(), cfg, g,
		func(c *Client, gossip string) (*Registration[Worker], error) {
			return c.RegisterWorker(t.Context(), Worker{ID: "w1", Gossip: gossip})
		})
	if err != nil {
		t.Fatal(err)
	}
	w := until(t, states, "w1", hasWorker("w1")).Workers["w1"]
	if w.Gossip != seat.Gossip.Addr() {
		t.Errorf("registered to gossip at %q, not %q", w.Gossip, seat.Gossip.Addr())
	}
	if err := seat.Registration.Post(func(w *Worker) { w.PlanEpoch = 3 }); err != nil {
		t.Error(err)
	}
	until(t, states, "what was posted", func(s State) bool { return s.Workers["w1"].PlanEpoch == 3 })
	if err := seat.Registration.Post(func(w *Worker) { w.ID = "w2" }); err == nil {
		t.Error("an id can change")
	}
	// At once: long before the lease would end.
	began := time.Now()
	if err := seat.Leave(); err != nil {
		t.Error(err)
	}
	until(t, states, "w1 to leave", lacksWorker("w1"))
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("leaving took %v", took)
	}
}
