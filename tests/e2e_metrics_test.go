//go:build linux

package tests

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

var (
	metricFamily = regexp.MustCompile(`(?m)^# TYPE (conclave_\w+) (\w+)$`)
	metricRow    = regexp.MustCompile("(?m)^\\| `(conclave_\\w+)`[^|]*\\| (\\w+) \\|")
	metricName   = regexp.MustCompile(`conclave_\w+`)
)

// typesOf returns the names that found matches in text, with their types.
func typesOf(found *regexp.Regexp, text string) map[string]string {
	types := map[string]string{}
	for _, m := range found.FindAllStringSubmatch(text, -1) {
		types[m[1]] = m[2]
	}
	return types
}

// testMetrics holds what a coordinator exports to Prometheus' rules, to the
// page that describes it, and to the alerts that are made of it.
func testMetrics(t *testing.T, a api) {
	status, text, err := a.send(t.Context(), http.MethodGet, "/metrics", "")
	if err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %v", status, err)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if p.Metric != "conclave_iteration_tokens_total" { // vLLM's name
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	mustContain(t, "/metrics", text, "\ngo_goroutines ", "\nprocess_resident_memory_bytes ",
		"\nconclave_ready 1\n", `conclave_worker_lane{worker="worker-1"} 1`+"\n")

	exported := typesOf(metricFamily, text)
	page, err := os.ReadFile("../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := typesOf(metricRow, string(page))
	for name := range maps.Keys(exported) {
		if documented[name] != exported[name] {
			t.Errorf("%s is a %s, docs/observability.md says %q", name, exported[name], documented[name])
		}
	}
	for name := range maps.Keys(documented) {
		if exported[name] == "" {
			t.Errorf("%s is in docs/observability.md and nowhere else", name)
		}
	}
	alerts, err := os.ReadFile("../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	names := metricName.FindAllString(string(alerts), -1)
	for _, name := range slices.Compact(names) {
		if exported[strings.TrimSuffix(name, "_bucket")] == "" {
			t.Errorf("%s is in deploy/prometheus/alerts.yml and nowhere else", name)
		}
	}
}
