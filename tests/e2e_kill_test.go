//go:build linux

package tests

import (
	"syscall"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator"
)

// loadClients is how many clients ask at once while processes are killed.
const loadClients = 4

// TestKillWorker requires that no request notices a killed worker, since another
// one has the same experts, and that its successor is given them.
func TestKillWorker(t *testing.T) {
	t.Parallel()
	c := startUp(t)
	l := startLoad(t, c.api, loadClients)
	for _, n := range []int{1, 2, 1} {
		l.awaitSuccess(t)
		victim := c.worker(n)
		killed := kill(t, victim)
		until(t, "another worker in its place", func() (bool, string) {
			pid := c.worker(n)
			return pid != 0 && pid != victim, "no new process"
		})
		c.awaitStatus(t, "a whole cluster", whole(2))
		t.Logf("worker %d: its successor had its experts %.2f s after the kill", n, time.Since(killed).Seconds())
	}
	l.awaitSuccess(t)
	l.stop(t, never)
}

// TestKillCoordinator requires that it comes back on the same port.
func TestKillCoordinator(t *testing.T) {
	t.Parallel()
	c := startUp(t)
	l := startLoad(t, c.api, loadClients)
	for range 2 {
		l.awaitSuccess(t)
		killed := kill(t, c.coordinator())
		l.awaitSuccess(t)
		t.Logf("served again %.2f s after the kill", time.Since(killed).Seconds())
	}
	l.stop(t, func(err error) bool { return brokenConnection(err) || namesExperts(err) || isLoading(err) })
	c.awaitStatus(t, "a whole cluster", whole(2))
	c.signal(t, syscall.SIGINT)
	c.exits(t, 0)
	c.box.awaitEmpty(t)
	mustBeFree(t, c.addr)
}

// TestKillParent requires that no child outlives it, and that a new cluster
// starts in its place at once.
func TestKillParent(t *testing.T) {
	t.Parallel()
	c := startUp(t, "--workers", "5")
	l := startLoad(t, c.api, loadClients)
	l.awaitSuccess(t)
	before := c.post(t, "/v1/completions", loadBody(0))
	killed := kill(t, c.cmd.Process.Pid)
	c.wait(t)
	c.box.awaitEmpty(t)
	awaitFree(t, c.addr)
	t.Logf("everything had ended %.2f s after the kill", time.Since(killed).Seconds())
	l.stop(t, brokenConnection)

	next := upOn(t, c.box, c.addr)
	if after := next.post(t, "/v1/completions", loadBody(0)); scrub(after) != scrub(before) {
		t.Errorf("after: %s\nbefore: %s", after, before)
	}
	if s, ok := next.status(t); !ok || len(s.Workers) != 2 {
		t.Errorf("the new cluster has %d workers: it remembers the old one", len(s.Workers))
	}
}

func kill(t *testing.T, pid int) time.Time {
	t.Helper()
	if pid == 0 {
		t.Fatal("no such process")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	return time.Now()
}

// whole says whether a number of workers serve everything.
func whole(workers int) func(coordinator.Status) bool {
	return func(s coordinator.Status) bool {
		experts, copies := 0, min(workers, coordinator.DefaultReplicas)
		for _, w := range s.Workers {
			if !w.Lane || w.ExpertCount == 0 {
				return false
			}
			experts += w.ExpertCount
		}
		return s.Ready && s.Settled && s.Registry && len(s.Workers) == workers &&
			s.ReplicasLeast == copies && experts == copies*demoExperts
	}
}

// demoExperts is the number of experts of the demo model, over all layers.
const demoExperts = 6 * 16
