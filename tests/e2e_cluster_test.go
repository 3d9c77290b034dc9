//go:build linux

package tests

import (
	"context"
	"log/slog"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator"
	"github.com/conclave-serve/conclave/internal/demo"
	"github.com/conclave-serve/conclave/internal/membership"
)

// machines is a cluster whose processes were started one by one.
type machines struct {
	api
	box         *sandbox
	etcd, model string
	coordinator *process
}

func startEtcd(t *testing.T, dir, addr string) *membership.Embedded {
	t.Helper()
	etcd, err := membership.StartEmbedded(membership.EmbeddedConfig{
		Dir: dir, ClientAddr: addr, NoFsync: true, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = etcd.Close() }) // a test that stops it looks at the error
	return etcd
}

// startMachines starts a coordinator against an etcd; args follow its own.
func startMachines(t *testing.T, etcd *membership.Embedded, args ...string) *machines {
	t.Helper()
	model, err := demo.Unpack(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	m := &machines{api: api{"http://" + addr}, box: newSandbox(t), etcd: etcd.Endpoint(), model: model}
	m.coordinator = m.box.start(t, append([]string{
		"coordinator", "--id", "front", "--listen", addr, "--etcd", m.etcd, "--model", model, "--model-name", demo.Name,
		"--lease-ttl", "1s",
	}, args...)...)
	return m
}

func (m *machines) worker(t *testing.T, id string) *process {
	t.Helper()
	return m.box.start(t, "worker", "--id", id, "--listen", "127.0.0.1:0", "--etcd", m.etcd, "--model", m.model,
		"--lease-ttl", "1s")
}

// TestJoinAndLeave lets a worker join and others leave under load. No request
// may notice, and at no moment may an expert be out of reach.
func TestJoinAndLeave(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""), "--min-workers", "2", "--no-last-resort")
	first, second := m.worker(t, "w1"), m.worker(t, "w2")
	m.awaitStatus(t, "two workers", whole(2))
	l := startLoad(t, m.api, loadClients)
	l.awaitSuccess(t)
	stayedReady := watchReadiness(t, m.api)

	joined := time.Now()
	m.worker(t, "w3")
	m.awaitStatus(t, "a third worker with experts", whole(3))
	t.Logf("the third worker had its experts %.2f s after its start", time.Since(joined).Seconds())
	l.awaitSuccess(t)

	for _, leaving := range []*process{first, second} {
		asked := time.Now()
		leaving.signal(t, syscall.SIGTERM)
		leaving.exits(t, 0)
		t.Logf("a worker had handed over and left %.2f s after SIGTERM", time.Since(asked).Seconds())
		l.awaitSuccess(t)
	}
	m.awaitStatus(t, "the third worker alone", whole(1))
	l.awaitSuccess(t)
	stayedReady()
	l.stop(t, never)

	_, stdout, _ := m.box.run(t, "status", "--url", m.url)
	mustContain(t, "status", stdout, "front", "w3", "layers 0-5     0-15")
	asked := time.Now()
	m.coordinator.signal(t, syscall.SIGTERM)
	m.coordinator.exits(t, 0)
	t.Logf("the coordinator left %.2f s after SIGTERM", time.Since(asked).Seconds())
}

// watchReadiness asks the coordinator over and over whether every expert is in
// reach. The function it returns stops that, and fails the test if the answer
// was ever no.
func watchReadiness(t *testing.T, a api) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	asked, refused := 0, 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			status, _, err := a.send(ctx, http.MethodGet, "/readyz", "")
			if ctx.Err() != nil {
				return
			}
			asked++
			if err != nil || status != http.StatusOK {
				refused++
			}
		}
	}()
	return func() {
		t.Helper()
		cancel()
		<-done
		if asked == 0 || refused > 0 {
			t.Errorf("the cluster was not ready %d of %d times", refused, asked)
		}
	}
}

// TestLastWorkerDies requires a clear error while nobody serves the experts,
// and service again as soon as somebody does.
func TestLastWorkerDies(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""), "--patience", "500ms", "--no-last-resort")
	only := m.worker(t, "w1")
	m.awaitStatus(t, "a worker", whole(1))
	want := m.post(t, "/v1/chat/completions", chatBody("What is 17 + 25?", ""))
	running := longStream(t, m.api, 4000)

	kill(t, only.cmd.Process.Pid)
	if err := running(); !namesExperts(err) {
		t.Errorf("the running stream ended with %v, want an error that names experts", err)
	}
	status, body, err := m.send(t.Context(), http.MethodPost, "/v1/chat/completions", chatBody("What is 17 + 25?", ""))
	if err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("status %d, %v", status, err)
	}
	mustContain(t, "the error", body, "experts", "layer 0", `"error":{"message":`)
	status, body, err = m.send(t.Context(), http.MethodGet, "/readyz", "")
	if err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("/readyz: status %d, %v: %s", status, err, body)
	}
	if status, _, err := m.send(t.Context(), http.MethodGet, "/healthz", ""); err != nil || status != http.StatusOK {
		t.Errorf("/healthz: status %d, %v", status, err)
	}
	code, stdout, _ := m.box.run(t, "status", "--url", m.url)
	if code != 0 {
		t.Errorf("conclave status: exit code %d", code)
	}
	mustContain(t, "status", stdout, "state      not ready", "experts 0-15 of layer 0")

	m.worker(t, "w1")
	m.awaitStatus(t, "the worker to be back", whole(1))
	if got := m.post(t, "/v1/chat/completions", chatBody("What is 17 + 25?", "")); scrub(got) != scrub(want) {
		t.Errorf("after: %s\nbefore: %s", got, want)
	}
}

// TestEtcdOutage stops etcd for longer than the leases live.
func TestEtcdOutage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	etcd := startEtcd(t, dir, "")
	m := startMachines(t, etcd, "--min-workers", "2")
	m.worker(t, "w1")
	second := m.worker(t, "w2")
	m.awaitStatus(t, "two workers", whole(2))
	l := startLoad(t, m.api, loadClients)

	if err := etcd.Close(); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	m.awaitStatus(t, "the loss to be noticed", func(s coordinator.Status) bool { return !s.Registry && s.Ready })
	const leases = 3 * time.Second // three times as long as they live
	for time.Since(stopped) < leases {
		l.awaitSuccess(t)
	}
	_, stdout, _ := m.box.run(t, "status", "--url", m.url)
	mustContain(t, "status", stdout, "state      ready", "registry   out of reach")

	startEtcd(t, dir, m.etcd)
	m.awaitStatus(t, "the registry and both workers", whole(2))
	l.awaitSuccess(t)
	// Placement works again: who leaves now hands over.
	second.signal(t, syscall.SIGTERM)
	second.exits(t, 0)
	m.awaitStatus(t, "the first worker alone", whole(1))
	l.awaitSuccess(t)
	l.stop(t, never)
}

// TestSameID starts a second worker of the same name: the first, which might
// be a process that its supervisor has given up, leaves and says why.
func TestSameID(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""))
	first := m.worker(t, "w1")
	m.awaitStatus(t, "a worker", whole(1))
	m.worker(t, "w1")
	first.exits(t, 1)
	mustContain(t, "the error", first.stderr.String(), "another process registered under the same id", "--id")
	m.awaitStatus(t, "a whole cluster", whole(1))
}
