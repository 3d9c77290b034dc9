//go:build linux

package tests

import (
	"syscall"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator"
	"github.com/conclave-serve/conclave/internal/demo"
	"github.com/conclave-serve/conclave/internal/faultnet"
)

// front starts a further coordinator, which finds etcd at an address of its own.
func (m *machines) front(t *testing.T, id, etcd string) (*process, api) {
	t.Helper()
	addr := freeAddr(t)
	p := m.box.start(t, "coordinator", "--id", id, "--listen", addr, "--etcd", etcd,
		"--model", m.model, "--model-name", demo.Name, "--lease-ttl", "1s", "--min-workers", "2")
	return p, api{"http://" + addr}
}

// awaitController waits for a controller other than one, and tells how long that took.
func (a api) awaitController(t *testing.T, other string) (id string) {
	t.Helper()
	since := time.Now()
	a.awaitStatus(t, "another controller", func(s coordinator.Status) bool {
		id = s.Controller
		return id != "" && id != other
	})
	t.Logf("%s is controller instead of %s after %.2f s", id, other, time.Since(since).Seconds())
	return id
}

// TestSeveralCoordinators lets three coordinators share the workers, each with requests of its
// own. One, the controller, is killed, its successor freezes, a third joins meanwhile, workers
// come and go: only the requests of who was killed are lost, and placement goes on.
func TestSeveralCoordinators(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""), "--min-workers", "2")
	m.awaitController(t, "nobody")
	procs := map[string]*process{"w1": m.worker(t, "w1"), "w2": m.worker(t, "w2")}
	m.awaitStatus(t, "two workers", whole(2))
	second, api2 := m.front(t, "second", m.etcd)
	api2.awaitStatus(t, "the second coordinator", whole(2))
	third, api3 := m.front(t, "third", m.etcd)
	api3.awaitStatus(t, "the third coordinator", whole(2))
	fronts := map[string]*process{"second": second, "third": third}
	doomed, load2, load3 := startLoad(t, m.api, 2), startLoad(t, api2, 2), startLoad(t, api3, 2)
	for _, l := range []*load{doomed, load2, load3} {
		l.awaitSuccess(t)
	}

	kill(t, m.coordinator.cmd.Process.Pid)
	controller := api2.awaitController(t, "front")
	doomed.stop(t, brokenConnection)
	procs["w3"] = m.worker(t, "w3")
	api2.awaitStatus(t, "a third worker with experts", whole(3))

	// Who is in office freezes for longer than its lease lives. It wakes up out of office, and
	// its requests go on.
	watcher, sleeper := api2, api3
	if controller == "second" {
		watcher, sleeper = api3, api2
	}
	fronts[controller].signal(t, syscall.SIGSTOP)
	successor := watcher.awaitController(t, controller)
	procs["w4"] = m.worker(t, "w4")
	watcher.awaitStatus(t, "a fourth worker with experts", whole(4))
	fronts[controller].signal(t, syscall.SIGCONT)
	sleeper.awaitStatus(t, "the sleeper to catch up", func(s coordinator.Status) bool {
		return whole(4)(s) && s.Controller == successor && len(s.Coordinators) == 2
	})

	// Workers that are stopped hand over to everybody.
	for _, id := range []string{"w1", "w2"} {
		procs[id].signal(t, syscall.SIGTERM)
		procs[id].exits(t, 0)
		load2.awaitSuccess(t)
		load3.awaitSuccess(t)
	}
	_, api4 := m.front(t, "fourth", m.etcd)
	api4.awaitStatus(t, "the fourth coordinator", whole(2))
	load4 := startLoad(t, api4, 2)
	load4.awaitSuccess(t)
	for _, l := range []*load{load2, load3, load4} {
		l.stop(t, never)
	}
}

// TestCutOffCoordinator cuts one of two coordinators off from etcd, and then replaces all workers,
// one by one. It never hears of the new plans; its requests do not fail.
func TestCutOffCoordinator(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""), "--min-workers", "2")
	m.awaitController(t, "nobody")
	procs := []*process{m.worker(t, "w1"), m.worker(t, "w2")}
	m.awaitStatus(t, "two workers", whole(2))
	relay, err := faultnet.Listen(m.etcd, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(relay.Close)
	_, far := m.front(t, "far", relay.Addr())
	far.awaitStatus(t, "the second coordinator", whole(2))
	near, cut := startLoad(t, m.api, 2), startLoad(t, far, 2)
	cut.awaitSuccess(t)

	relay.Close()
	far.awaitStatus(t, "the cut to be noticed", func(s coordinator.Status) bool { return !s.Registry })
	m.awaitStatus(t, "the lease to end", func(s coordinator.Status) bool { return len(s.Coordinators) == 1 })
	for i, id := range []string{"w3", "w4"} {
		m.worker(t, id)
		// The others keep what the plan takes from them, for whoever has not heard of it.
		m.awaitStatus(t, "a new worker", func(s coordinator.Status) bool {
			return s.Settled && len(s.Workers) == 3 && s.Workers[2].ExpertCount > 0
		})
		cut.awaitSuccess(t)
		procs[i].signal(t, syscall.SIGTERM)
		procs[i].exits(t, 0)
		m.awaitStatus(t, "the others", func(s coordinator.Status) bool {
			return s.Settled && len(s.Workers) == 2
		})
		cut.awaitSuccess(t)
	}
	near.stop(t, never)
	cut.stop(t, never)
	if s, ok := far.status(t); !ok || s.Registry || !s.Ready {
		t.Errorf("the coordinator that was cut off: ready %v, registry %v", s.Ready, s.Registry)
	}
}

// TestEtcdForgets restarts etcd without its data under load, and a new worker joins at once.
// Requests notice nothing, and the placement is there again, with a greater epoch.
func TestEtcdForgets(t *testing.T) {
	t.Parallel()
	etcd := startEtcd(t, t.TempDir(), "")
	m := startMachines(t, etcd, "--min-workers", "2")
	m.worker(t, "w1")
	m.worker(t, "w2")
	m.awaitStatus(t, "two workers", whole(2))
	l := startLoad(t, m.api, loadClients)
	l.awaitSuccess(t)
	stayedReady := watchReadiness(t, m.api)
	before, _ := m.status(t)
	if err := etcd.Close(); err != nil {
		t.Fatal(err)
	}
	m.awaitStatus(t, "the loss to be noticed", func(s coordinator.Status) bool { return !s.Registry })
	l.awaitSuccess(t)
	startEtcd(t, t.TempDir(), m.etcd)
	m.worker(t, "w3")
	m.awaitStatus(t, "everybody again", whole(3))
	after, _ := m.status(t)
	if after.PlanEpoch <= before.PlanEpoch {
		t.Errorf("epoch %d after %d", after.PlanEpoch, before.PlanEpoch)
	}
	l.awaitSuccess(t)
	stayedReady()
	l.stop(t, never)
}
