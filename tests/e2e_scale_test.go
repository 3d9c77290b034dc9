//go:build linux

package tests

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator"
)

// TestScaleUnderLoad grows a cluster from two workers to six and shrinks it again, one worker at
// a time, under 16 streams: no request may fail, and each must say what it says undisturbed. How
// long a worker took to answer its first call, and how long streams stood still, is logged.
func TestScaleUnderLoad(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""), "--min-workers", "2")
	procs := map[string]*process{"w1": m.worker(t, "w1"), "w2": m.worker(t, "w2")}
	m.awaitStatus(t, "two workers", whole(2))
	l := startPacedLoad(t, m.api)
	l.phase(t, "undisturbed", 1)

	for n := 3; n <= 6; n++ {
		id := fmt.Sprintf("w%d", n)
		started := time.Now()
		procs[id] = m.worker(t, id)
		m.awaitStatus(t, id+" to be asked", func(s coordinator.Status) bool {
			for _, w := range s.Workers {
				if w.ID == id && w.Calls > 0 {
					return true
				}
			}
			return false
		})
		t.Logf("%s was asked %.2f s after its start", id, time.Since(started).Seconds())
		m.awaitStatus(t, "the whole cluster", whole(n))
		l.phase(t, "with "+id, 1)
	}

	// Two leave by command, two as their supervisor stops them, the first ones among them.
	for i, id := range []string{"w1", "w4", "w2", "w6"} {
		asked := time.Now()
		if i%2 == 0 {
			code, stdout, stderr := m.box.run(t, "drain", id, "--url", m.url)
			if code != 0 {
				t.Fatalf("conclave drain %s: exit code %d: %s%s", id, code, stdout, stderr)
			}
			mustContain(t, "what drain says", stdout, id+" has left")
		} else {
			procs[id].signal(t, syscall.SIGTERM)
		}
		procs[id].exits(t, 0)
		t.Logf("%s had handed over and left after %.2f s", id, time.Since(asked).Seconds())
		m.awaitStatus(t, "the others", whole(5-i))
		l.phase(t, "without "+id, 1)
	}
	l.stop(t)
}

// TestDrainAndBack empties a worker that stays, under load; it remembers that when it is
// restarted, and takes experts again when it may. The last one is not let go.
func TestDrainAndBack(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""), "--min-workers", "2")
	m.worker(t, "w1")
	second := m.worker(t, "w2")
	m.awaitStatus(t, "two workers", whole(2))
	l := startLoad(t, m.api, loadClients)
	drain := func(want int, says string, args ...string) {
		t.Helper()
		code, stdout, stderr := m.box.run(t, append([]string{"drain", "--url", m.url}, args...)...)
		if code != want {
			t.Errorf("conclave drain %q: exit code %d, want %d", args, code, want)
		}
		mustContain(t, "conclave drain", stdout+stderr, says)
	}
	empty := func(s coordinator.Status) bool {
		return s.Ready && len(s.Workers) == 2 && s.Workers[1].Draining && s.Workers[1].ExpertCount == 0
	}
	drain(0, "w2 holds no experts any more", "w2", "--keep")
	m.awaitStatus(t, "w2 without experts", empty)
	drain(1, "w1 is the last one", "w1")
	drain(1, `no worker "w3"; there are: w1, w2`, "w3")
	l.awaitSuccess(t)

	second.signal(t, syscall.SIGTERM)
	second.exits(t, 0)
	m.awaitStatus(t, "w1 alone", whole(1))
	m.worker(t, "w2")
	m.awaitStatus(t, "w2 without experts, again", empty)
	_, stdout, _ := m.box.run(t, "status", "--url", m.url)
	mustContain(t, "status", stdout, "draining")
	drain(0, "w2 takes experts again", "w2", "--undo")
	m.awaitStatus(t, "two workers again", whole(2))
	l.awaitSuccess(t)
	l.stop(t, never)
}
