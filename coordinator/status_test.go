package coordinator

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// asJSON returns s as a reader of its JSON sees it.
func asJSON(t *testing.T, s any) any {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

type object = map[string]any

// The shape of /conclave/v1/status is an interface: programs read it.
func TestStatusJSON(t *testing.T) {
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	state := registry(nil,
		membership.Worker{
			ID: "w2", Incarnation: "i2", Addr: "b:1", Capacity: 100, Ready: []string{"0-1", "1"}, PlanEpoch: 4,
			Zone: "z", Draining: true, Started: started,
		},
		membership.Worker{ID: "w1", Incarnation: "i1", Addr: "a:1", Started: started})
	state.Controller = "c1"
	state.Coordinators = map[string]membership.Coordinator{
		"c1": {ID: "c1", Incarnation: "ic", Addr: "c:1", TableEpoch: 4, Started: started},
	}
	table := router.NewTable(&shard.Plan{Epoch: 4, Workers: []shard.WorkerID{"w2"}}, []int{2, 0}, []router.Holder{
		{ID: "w2", Ready: []shard.Set{shard.NewSet(0)}, Reachable: true}, {ID: "w1"},
	})
	s := Status{
		Coordinator: "c1", Model: "m", Fingerprint: "f", Family: "qwen3_moe", Kernels: "avx2", Wire: "f32",
		Engine: engine.Stats{
			Running: 1, Waiting: 2, PagesUsed: 3, PagesTotal: 4, Preemptions: 5, Steps: 6,
			PrefixQueries: 7, PrefixHits: 8, PagesCached: 9, DraftTokens: 10, AcceptedTokens: 11, GeneratedTokens: 12,
		},
	}
	s.setTable(table)
	s.setMembers(state, []membership.Member{
		{Incarnation: "i2", Alive: true, Load: membership.Load{Queue: 1.5}}, {Incarnation: "i1", Alive: false},
	})
	s.setLanes(table, map[shard.WorkerID]dispatch.Hops{
		"w2": {Calls: 7, Failures: 1, Retries: 2, Hedges: 3, Ejections: 4, Ejected: true, Network: time.Second, Queue: 2 * time.Second, Compute: time.Second / 2},
	})
	want := object{
		"coordinator": "c1", "model": "m", "fingerprint": "f", "family": "qwen3_moe", "kernels": "avx2", "wire": "f32",
		"ready": false, "missing": "no reachable worker serves experts 1 of layer 0; unreachable: w1",
		"registry_connected": true, "plan_epoch": 4.0, "settled": false, "replicas_least": 0.0, "replicas_most": 1.0,
		"calls": 0.0, "retries": 0.0, "hedges": 0.0, "ejections": 0.0, "last_resort_experts": 0.0, "controller": "c1",
		"engine": object{
			"running": 1.0, "waiting": 2.0, "pages_used": 3.0, "pages_total": 4.0, "preemptions": 5.0, "steps": 6.0,
			"prefix_queries": 7.0, "prefix_hits": 8.0, "pages_cached": 9.0, "draft_tokens": 10.0, "accepted_tokens": 11.0,
			"generated_tokens": 12.0,
		},
		"coordinators": []any{object{
			"id": "c1", "addr": "c:1", "table_epoch": 4.0, "started": "2026-01-02T03:04:05Z", "gossip": "unknown", "queue": 0.0,
		}},
		"workers": []any{
			object{
				"id": "w1", "incarnation": "i1", "addr": "a:1", "capacity_bytes": 0.0, "plan_epoch": 0.0, "started": "2026-01-02T03:04:05Z",
				"gossip": "dead", "lane": false, "queue": 0.0, "experts": []any{}, "expert_count": 0.0, "calls": 0.0,
				"failures": 0.0, "retries": 0.0, "hedges": 0.0, "ejections": 0.0, "network_seconds": 0.0, "queue_seconds": 0.0, "compute_seconds": 0.0,
			},
			object{
				"id": "w2", "incarnation": "i2", "addr": "b:1", "zone": "z", "capacity_bytes": 100.0, "plan_epoch": 4.0, "draining": true,
				"started": "2026-01-02T03:04:05Z", "gossip": "alive", "lane": true, "queue": 1.5,
				"experts": []any{"0-1", "1"}, "expert_count": 3.0, "calls": 7.0, "failures": 1.0,
				"retries": 2.0, "hedges": 3.0, "ejections": 4.0, "ejected": true,
				"network_seconds": 1.0, "queue_seconds": 2.0, "compute_seconds": 0.5,
			},
		},
	}
	if diff := cmp.Diff(any(want), asJSON(t, s)); diff != "" {
		t.Errorf("status (- want, + got):\n%s", diff)
	}
}

// Before the registry was read, lists are empty, not null.
func TestStatusJSONEmpty(t *testing.T) {
	var s Status
	s.setMembers(membership.State{}, nil)
	got := asJSON(t, s).(object)
	for _, list := range []string{"workers", "coordinators"} {
		if l, ok := got[list].([]any); !ok || len(l) != 0 {
			t.Errorf("%s is %v", list, got[list])
		}
	}
}
