package coordinator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// twoWorkers is a cluster of a dense layer and one of three experts, of which b
// serves the last alone, and a, twice as fast, the others with b or without. A third
// worker cannot be reached.
func twoWorkers() (*Status, *router.Table, []shard.Layer, *dispatch.Load) {
	status := &Status{
		Coordinator: "c1", Model: "m", Ready: true, Registry: true, Controller: "c1", PlanEpoch: 4, Settled: true,
		ReplicasLeast: 1, ReplicasMost: 2, Engine: engine.Stats{Running: 1, GeneratedTokens: 9},
		Workers: []WorkerStatus{
			{ID: "a", Addr: "a:1", Zone: "z", Gossip: "alive", Lane: true, ExpertCount: 2, Capacity: 500, Queue: 1},
			{
				ID: "b", Addr: "b:1", Gossip: "alive", Lane: true, ExpertCount: 2, Ejected: true,
				Retries: 1, Hedges: 2, Ejections: 3, Failures: 4, LastFailure: "reset", LastFailureAt: time.Unix(60, 0).UTC(),
			},
			{ID: "gone", Addr: "g:1", Gossip: "dead", Draining: true},
		},
	}
	table := router.NewTable(nil, []int{0, 3}, []router.Holder{
		{ID: "b", Ready: []shard.Set{{}, shard.NewSet(1, 2)}, Reachable: true},
		{ID: "unknown"},
		{ID: "a", Ready: []shard.Set{{}, shard.NewSet(0, 1)}, Reachable: true},
	})
	layers := []shard.Layer{{}, {Experts: 3, ExpertBytes: 100}}
	load := &dispatch.Load{
		Steps: 10, Calls: 20, Experts: 30, Bytes: 3000,
		Layers: []shard.LayerLoad{{}, {Rows: []float32{10, 8, 40}, Reads: []float32{10, 8, 2}}},
		Workers: map[shard.WorkerID]dispatch.WorkerLoad{
			"a": {Speed: 2000, Calls: 10, Network: 0.001, Queue: 0.002, Compute: 0.3},
			"b": {Speed: 1000, Calls: 10, Network: 0.002, Queue: 0, Compute: 0.1},
		},
	}
	return status, table, layers, load
}

// The shape of /v1/cluster is an interface: programs read it. By the measured load,
// a reads 10 + 8 experts in a second, and b, at half the speed, 40÷4.
func TestClusterJSON(t *testing.T) {
	status, table, layers, load := twoWorkers()
	s := newSight(status, load)
	s.place(table, layers, load, "f")
	worker := func(id, addr string, more object) object {
		w := object{
			"id": id, "addr": addr, "gossip": "alive", "lane": true, "queue": 0.0, "expert_count": 2.0, "bytes_held": 200.0,
			"capacity_bytes": 0.0, "retries": 0.0, "hedges": 0.0, "ejections": 0.0, "failures": 0.0,
		}
		for k, v := range more {
			w[k] = v
		}
		return w
	}
	want := object{
		"coordinator": "c1", "model": "m", "ready": true, "registry_connected": true, "controller": "c1",
		"epoch": 4.0, "settled": true, "replicas_least": 1.0, "replicas_most": 2.0, "half_life_seconds": 40.0,
		"balancedness": 0.667, "predicted_balancedness": 0.95,
		"placement":        object{"balancedness": 0.0, "moved_bytes": 0.0, "moves": 0.0, "rebalances": 0.0},
		"steps_per_second": 10.0, "calls_per_step": 2.0, "experts_per_call": 1.5, "expert_bytes_per_step": 300.0,
		"engine": asJSON(t, status.Engine),
		"workers": []any{
			worker("a", "a:1", object{
				"zone": "z", "queue": 1.0, "capacity_bytes": 500.0, "speed_bytes_per_second": 2000.0, "share": 0.75,
				"predicted_share": 0.474, "calls_per_second": 10.0, "compute_seconds_per_step": 0.03,
				"network_seconds": 0.0001, "queue_seconds": 0.0002, "compute_seconds": 0.03,
			}),
			worker("b", "b:1", object{
				"ejected": true, "retries": 1.0, "hedges": 2.0, "ejections": 3.0, "failures": 4.0, "last_failure": "reset",
				"last_failure_at": "1970-01-01T00:01:00Z", "speed_bytes_per_second": 1000.0, "share": 0.25,
				"predicted_share": 0.526, "calls_per_second": 10.0, "compute_seconds_per_step": 0.01,
				"network_seconds": 0.0002, "queue_seconds": 0.0, "compute_seconds": 0.01,
			}),
			worker("gone", "g:1", object{
				"gossip": "dead", "lane": false, "draining": true, "expert_count": 0.0, "bytes_held": 0.0,
				"speed_bytes_per_second": 0.0, "share": 0.0, "predicted_share": 0.0, "calls_per_second": 0.0,
				"compute_seconds_per_step": 0.0, "network_seconds": 0.0, "queue_seconds": 0.0, "compute_seconds": 0.0,
			}),
		},
		"layers": []any{object{
			"layer": 1.0, "heat": 1.07, "rows": []any{10.0, 8.0, 40.0}, "reads": []any{10.0, 8.0, 2.0},
			"replicas": []any{[]any{0.0}, []any{0.0, 1.0}, []any{1.0}},
		}},
	}
	if diff := cmp.Diff(any(want), asJSON(t, s)); diff != "" {
		t.Errorf("cluster (- want, + got):\n%s", diff)
	}
}

// Before anything is measured, or known, all is zero and no list is null.
func TestClusterJSONEmpty(t *testing.T) {
	var load dispatch.Load
	s := newSight(&Status{}, &load)
	s.place(router.NewTable(nil, nil, nil), nil, &load, "f")
	got := asJSON(t, s).(object)
	for _, list := range []string{"workers", "layers"} {
		if l, ok := got[list].([]any); !ok || len(l) != 0 {
			t.Errorf("%s is %v", list, got[list])
		}
	}
	if got["balancedness"] != 0.0 || got["predicted_balancedness"] != 0.0 {
		t.Errorf("balancedness %v, %v of nothing", got["balancedness"], got["predicted_balancedness"])
	}
	status, table, layers, _ := twoWorkers()
	idle := dispatch.Load{Layers: []shard.LayerLoad{{}, {Rows: make([]float32, 3), Reads: make([]float32, 3)}}}
	s = newSight(status, &idle)
	s.place(table, layers, &idle, "f")
	if s.Predicted != 0 || s.Layers[0].Heat != 0 || s.Workers[0].Share != 0 {
		t.Errorf("an idle cluster: %+v", s)
	}
}
