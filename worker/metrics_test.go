package worker

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/conclave-serve/conclave/internal/host"
	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/kernels"
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
	mustBeDocumented(t, text)
}

// mustBeDocumented looks for the metrics of a page in docs/observability.md.
func mustBeDocumented(t *testing.T, text string) {
	t.Helper()
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

// anywhere puts memory on nodes that this machine has not.
type anywhere struct{}

func (anywhere) Bind([]byte, int) error { return nil }

// On a machine of several memory nodes each one's weights are told, in metrics and in the log.
func TestNodesAreTold(t *testing.T) {
	h := openTownHall(t)
	var log strings.Builder // read when the worker has ended
	nodes := shard.NewNodes(shard.NodesConfig{
		Memory: host.Memory{{ID: 0, Threads: 3}, {ID: 5, Threads: 2}}, Binder: anywhere{},
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	// The town hall's experts stay in their files.
	m := kernels.Matrix{Format: kernels.F32, Rows: 256, Cols: 64, Data: make([]byte, 4*256*64)}
	if err := shard.QuantInt8.Quantize(nodes, &m); err != nil {
		t.Fatal(err)
	}
	w := h.startWith(func(cfg *Config) {
		cfg.ID, cfg.MetricsListen, cfg.nodes = "w", "127.0.0.1:0", nodes
	})
	h.until("w to register", func(s membership.State) bool { return len(s.Workers) == 1 })
	h.decree(map[shard.WorkerID]shard.Set{"w": shard.NewSet(0, 1)})
	h.until("the plan to be carried out", func(s membership.State) bool { return s.Workers["w"].PlanEpoch == 1 })
	_, text := w.page(t, "/metrics")
	mustBeDocumented(t, text)
	sum := 0
	pattern := regexp.MustCompile(`(?m)^conclave_node_weights_bytes\{node="[05]"\} (\S+)$`)
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		bytes, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		sum += bytes
	}
	if sum != len(m.Data) {
		t.Errorf("nodes have %d bytes, want %d:\n%s", sum, len(m.Data), text)
	}
	w.stop()
	if err := <-w.ended; err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"node=0 threads=3 ", "node=5 threads=2 "} {
		if !strings.Contains(log.String(), node) {
			t.Errorf("log lacks %q:\n%s", node, log.String())
		}
	}
}
