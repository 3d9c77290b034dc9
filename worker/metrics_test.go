package worker

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// page reads one of a worker's pages.
func (r *runningWorker) page(t *testing.T, path string) (status int, text string) {
	t.Helper()
	client := http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + r.watchers.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// A worker is ready once it has carried out a plan; its metrics are documented and
// keep Prometheus' rules.
func TestPages(t *testing.T) {
	h := openTownHall(t)
	w := h.startWith(func(cfg *Config) { cfg.ID, cfg.MetricsListen = "w", "127.0.0.1:0" })
	if status, _ := w.page(t, "/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d", status)
	}
	h.until("w to register", func(s membership.State) bool { return len(s.Workers) == 1 })
	if status, why := w.page(t, "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("readyz before a plan: %d, %s", status, why)
	}
	h.decree(map[shard.WorkerID]shard.Set{"w": shard.NewSet(0, 1)})
	h.until("the plan to be carried out", func(s membership.State) bool { return s.Workers["w"].PlanEpoch == 1 })
	if status, why := w.page(t, "/readyz"); status != http.StatusOK {
		t.Errorf("readyz with a plan: %d, %s", status, why)
	}
	_, text := w.page(t, "/metrics")
	if !strings.Contains(text, "\nconclave_ready 1\n") || !strings.Contains(text, "\nconclave_load_pending_bytes 0\n") {
		t.Errorf("metrics:\n%s", text)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	docs, err := os.ReadFile("../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (conclave_\w+) (\w+)$`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(string(docs), "\n| "+m[2]+" | `"+m[1]+"` |") {
			t.Errorf("docs/observability.md lacks the %s %s", m[2], m[1])
		}
	}
}
