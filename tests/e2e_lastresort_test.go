//go:build linux

package tests

import (
	"net/http"
	"syscall"
	"testing"

	"github.com/conclave-serve/conclave/coordinator"
)

// TestLastResort kills the only worker under 16 streams, and later freezes its
// successor: the coordinator computes the experts, so that no request fails or
// waits, and each says what it says undisturbed.
func TestLastResort(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""))
	w := m.worker(t, "w1")
	m.awaitStatus(t, "a worker", whole(1))
	l := startPacedLoad(t, m.api)
	l.phase(t, "undisturbed", 1)

	l.midway(t)
	kill(t, w.cmd.Process.Pid)
	m.awaitStatus(t, "the last resort", func(s coordinator.Status) bool {
		return s.Ready && s.LastResort && s.Missing != "" && s.LastResortExperts > 0
	})
	l.phase(t, "no worker", 2)
	if status, _, err := m.send(t.Context(), http.MethodGet, "/readyz", ""); err != nil || status != http.StatusOK {
		t.Errorf("/readyz: %d, %v", status, err)
	}
	_, stdout, _ := m.box.run(t, "status", "--url", m.url)
	mustContain(t, "status", stdout, "the coordinator computes experts itself")
	_, metrics, err := m.send(t.Context(), http.MethodGet, "/metrics", "")
	if err != nil {
		t.Fatal(err)
	}
	mustContain(t, "metrics", metrics, "conclave_last_resort 1\n", "conclave_last_resort_rows_total ")

	w = m.worker(t, "w1")
	m.awaitStatus(t, "a worker again", func(s coordinator.Status) bool { return whole(1)(s) && !s.LastResort })
	l.phase(t, "it is back", 1)

	l.midway(t)
	w.signal(t, syscall.SIGSTOP)
	m.awaitStatus(t, "the last resort", func(s coordinator.Status) bool { return s.LastResort })
	l.phase(t, "the worker frozen", 1)
	w.signal(t, syscall.SIGCONT)
	m.awaitStatus(t, "the worker again", func(s coordinator.Status) bool { return whole(1)(s) && !s.LastResort })
	l.phase(t, "it goes on", 1)
	l.stop(t)
}
