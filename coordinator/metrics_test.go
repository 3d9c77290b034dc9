package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/shard"
)

// gathered returns the values of a registry as name{labels}.
func gathered(t *testing.T, registry *prometheus.Registry) []string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	var out []string
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
			value := m.GetGauge().GetValue() + m.GetCounter().GetValue()
			out = append(out, fmt.Sprintf("%s{%s} %v", strings.TrimPrefix(f.GetName(), "conclave_"),
				strings.Join(labels, ","), value))
		}
	}
	slices.Sort(out)
	return out
}

// A worker that leaves takes its series along.
func TestWorkerMetrics(t *testing.T) {
	hops := map[shard.WorkerID]dispatch.Hops{
		"a": {
			Calls: 7, Failures: 1, Retries: 2, Hedges: 3, Ejections: 4, Ejected: true,
			Network: time.Second, Queue: 2 * time.Second, Compute: time.Second / 2,
		},
		"b": {},
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(newWorkerCollector(
		func() map[shard.WorkerID]dispatch.Hops { return hops },
		func() map[shard.WorkerID]float64 { return map[shard.WorkerID]float64{"a": 9, "c": 8} },
		func() map[shard.WorkerID]bool { return map[shard.WorkerID]bool{"a": true, "c": true} }))
	// One by one: call seconds, calls, ejected, ejections, speed, failures, hedges,
	// lane, retries.
	of := func(id string, network, queue, compute float64, rest ...int) []string {
		lines := []string{
			fmt.Sprintf("worker_call_seconds_total{compute,%s} %v", id, compute),
			fmt.Sprintf("worker_call_seconds_total{network,%s} %v", id, network),
			fmt.Sprintf("worker_call_seconds_total{queue,%s} %v", id, queue),
		}
		for i, name := range []string{
			"calls_total", "ejected", "ejections_total", "expert_bytes_per_second", "failures_total", "hedges_total",
			"lane", "retries_total",
		} {
			lines = append(lines, fmt.Sprintf("worker_%s{%s} %v", name, id, rest[i]))
		}
		return lines
	}
	a := of("a", 1, 2, 0.5, 7, 1, 4, 9, 1, 3, 1, 2)
	want := append(of("b", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), a...)
	slices.Sort(want)
	if d := cmp.Diff(want, gathered(t, registry)); d != "" {
		t.Errorf("two workers (-want +got):\n%s", d)
	}
	delete(hops, "b")
	if d := cmp.Diff(a, gathered(t, registry)); d != "" {
		t.Errorf("one worker (-want +got):\n%s", d)
	}
}
