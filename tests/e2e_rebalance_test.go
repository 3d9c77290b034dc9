//go:build linux

package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator"
)

// TestRebalanceLive has real processes rebalance under streams: with one copy of every expert and
// a few prompts over and over, one of the workers has more to do. The controller must measure
// that and move experts; no stream may fail, and each must say what it said before. What the
// slowest worker computes in a step is logged.
func TestRebalanceLive(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""), "--min-workers", "3", "--replicas", "1",
		"--rebalance-every", "1s", "--no-last-resort")
	for _, id := range []string{"w1", "w2", "w3"} {
		m.worker(t, id)
	}
	m.awaitStatus(t, "three workers", func(s coordinator.Status) bool {
		return s.Ready && s.Settled && len(s.Workers) == 3
	})
	stayedReady := watchReadiness(t, m.api)
	l := startPacedLoad(t, m.api)
	first, start := m.cluster(t), m.computing(t)
	before, was := first, start
	until(t, "a rebalance, done", func() (bool, string) {
		c := m.cluster(t)
		p := c.Placement
		if p.Rebalances == 0 {
			before, was = c, m.computing(t)
		}
		return p.Rebalances > 0 && p.StepsLeft == 0 && c.Settled, fmt.Sprintf("%+v", p)
	})
	rebalanced := m.computing(t)
	l.rounds(t, 4)
	after, end := m.cluster(t), m.computing(t)
	l.stop(t)
	stayedReady()
	p := after.Placement
	if after.Epoch <= first.Epoch || p.Moves == 0 || p.MovedBytes == 0 ||
		p.SlowestAfter >= p.SlowestBefore {
		t.Errorf("epoch %d after %d: %+v", after.Epoch, before.Epoch, p)
	}
	t.Logf("epoch %d → %d: %+v", first.Epoch, after.Epoch, p)
	t.Logf("the slowest worker computes for a token %v, %.3f of all workers' time; "+
		"after rebalancing %v, %.3f", was.slowest(start), was.part(start),
		end.slowest(rebalanced), end.part(rebalanced))
	t.Logf("balancedness %.2f → %.2f measured, %.2f → %.2f by the load",
		before.Balancedness, after.Balancedness, before.Predicted, after.Predicted)
}

// cluster is what the coordinator measures.
func (a api) cluster(t *testing.T) (c coordinator.Cluster) {
	t.Helper()
	code, body, err := a.send(t.Context(), http.MethodGet, coordinator.ClusterPath, "")
	if err != nil || code != http.StatusOK {
		t.Fatalf("status %d, %v: %s", code, err, body)
	}
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return c
}

// computing is how long each worker has computed, in seconds, and for how many tokens.
type computing struct {
	workers map[string]float64
	tokens  int64
}

func (a api) computing(t *testing.T) computing {
	t.Helper()
	s, ok := a.status(t)
	if !ok {
		t.Fatal("no status")
	}
	c := computing{workers: map[string]float64{}, tokens: s.Engine.GeneratedTokens}
	for _, w := range s.Workers {
		c.workers[w.ID] = w.ComputeSeconds
	}
	return c
}

// since returns the time of the slowest worker and of all since an earlier moment.
func (c computing) since(start computing) (slowest, all float64) {
	for id, v := range c.workers {
		v -= start.workers[id]
		slowest, all = max(slowest, v), all+v
	}
	return slowest, all
}

func (c computing) slowest(start computing) time.Duration {
	slowest, _ := c.since(start)
	tokens := max(c.tokens-start.tokens, 1)
	return time.Duration(slowest / float64(tokens) * float64(time.Second)).Round(time.Microsecond / 10)
}

func (c computing) part(start computing) float64 {
	slowest, all := c.since(start)
	return slowest / max(all, 1e-9)
}
