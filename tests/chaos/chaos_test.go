//go:build linux

package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// settings are the flags of the test.
type settings struct {
	seed          uint64
	first, faults int
	kinds         string
	keep          bool
	loopback      bool
}

// The flags must be there before the test binary parses them.
var given = func() *settings {
	s := &settings{}
	flag.Uint64Var(&s.seed, "chaos.seed", 1, "seed of the faults; 0: another one each time")
	flag.IntVar(&s.first, "chaos.first", 0, "number of the first fault")
	flag.IntVar(&s.faults, "chaos.faults", 0, "how many; 0: the short set of every test run")
	flag.StringVar(&s.kinds, "chaos.kinds", "", "kinds of faults, with commas between; default: all")
	flag.BoolVar(&s.keep, "chaos.keep", false, "keep the logs although nothing failed")
	flag.BoolVar(&s.loopback, "chaos.loopback", false, "use relays even where there can be namespaces")
	return s
}()

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// shortHold is how long faults last at most in every test run, which does one of each
	// kind that does not take long.
	shortHold = time.Second
	longHold  = 20 * time.Second
	// enough failures to see what is wrong.
	enough = 5
)

// TestChaos lets a cluster fail, over and over, and looks at what clients see.
func TestChaos(t *testing.T) {
	run := *given
	chosen := chosenKinds(t, run)
	s := shape{Workers: 4, Fronts: 2, MaxHold: longHold}
	if run.faults == 0 {
		run.faults, s = len(chosen), shape{Workers: 3, Fronts: 2, MaxHold: shortHold}
	}
	if run.seed == 0 {
		run.seed = rand.Uint64()
	}
	dir, err := os.MkdirTemp("", "conclave-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() || run.keep {
			t.Logf("the logs are in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	removeGroups()
	t.Logf("seed %d: -chaos.seed=%[1]d -chaos.first=%d -chaos.faults=%d -chaos.kinds=%s",
		run.seed, run.first, run.faults, join(chosen))
	h := &harness{t: t, cluster: startCluster(t, dir, s), seed: run.seed}
	h.prepare()
	for _, f := range schedule(run.seed, run.first, run.faults, chosen, s) {
		if why := h.cluster.unable(f.Kind); why != "" {
			t.Logf("fault %d: %v: not done: %s", f.Number, f, why)
			continue
		}
		h.fault(f)
		if h.failures >= enough {
			t.Errorf("%d failures are enough", h.failures)
			break
		}
	}
	h.finish()
}

// chosenKinds are those of the flag, or all. The short set has none that waits for
// all workers in turn.
func chosenKinds(t *testing.T, run settings) []kind {
	t.Helper()
	if run.kinds == "" {
		return slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool {
			return k == rolling && given.faults == 0
		})
	}
	var chosen []kind
	for name := range strings.SplitSeq(run.kinds, ",") {
		if !slices.Contains(kinds, kind(name)) {
			t.Fatalf("there is no kind of fault %q; there are %s", name, join(kinds))
		}
		chosen = append(chosen, kind(name))
	}
	return chosen
}

func join(list []kind) string {
	names := make([]string, len(list))
	for i, k := range list {
		names[i] = string(k)
	}
	return strings.Join(names, ",")
}

// harness does faults to a cluster under load.
type harness struct {
	t        *testing.T
	cluster  *cluster
	seed     uint64
	rest     map[string]footprint // before the load
	busy     map[string]footprint // under it
	outcomes []outcome
	failures int
	pulse    pulse
}

// prepare waits for a whole cluster, takes the undisturbed answers and the
// footprints, and starts the load.
func (h *harness) prepare() {
	ctx, c := h.t.Context(), h.cluster
	if err := await(ctx, settling, c.whole); err != nil {
		h.t.Fatalf("the cluster does not come up: %v", err)
	}
	var err error
	if c.load, err = newLoad(ctx, c); err != nil {
		h.t.Fatal(err)
	}
	h.closeIdle()
	if h.rest, err = c.measure(ctx); err != nil {
		h.t.Fatal(err)
	}
	c.load.start(ctx)
	h.t.Cleanup(c.load.stop)
	h.t.Cleanup(h.pulse.start())
	for range 3 {
		if err = await(ctx, settling, c.load.progress()); err != nil {
			h.t.Fatal(err)
		}
		wait(ctx, 300*time.Millisecond)
	}
	if h.busy, err = c.measure(ctx); err != nil {
		h.t.Fatal(err)
	}
	gap, first, _, _ := c.load.take()
	h.t.Logf("undisturbed: longest pause %s, longest wait for a first token %s", gap, ms(first))
}

func (h *harness) closeIdle() {
	for _, client := range h.cluster.clients {
		client.CloseIdleConnections()
	}
}

// fault does one fault, waits until the cluster is whole again, and judges.
func (h *harness) fault(f fault) {
	ctx, c, l := h.t.Context(), h.cluster, h.cluster.load
	_, _, endedBefore, _ := l.take()
	h.pulse.take()
	retries, hedges := h.totals(ctx)
	var err error
	if f.Kind == killElect {
		if f.Front, err = c.elected(ctx); err != nil {
			h.judge(f, err, nil)
			return
		}
	}
	c.aim(ctx, f)
	began := time.Now()
	err = c.perform(ctx, f)
	mended := time.Now()
	if err == nil {
		err = await(ctx, settling, c.whole)
	}
	recovery := time.Since(mended)
	l.excused[f.Front].Store(false)
	if err == nil {
		err = await(ctx, settling, l.progress())
	}
	if err == nil { // what is known of etcd may have been old
		err = await(ctx, settling, c.whole)
	}
	err = errors.Join(err, c.oddities())
	if err == nil {
		if err = await(ctx, 30*time.Second, c.within(h.busy, underLoad())); err != nil {
			err = fmt.Errorf("something is not given back: %w", err)
		}
	}
	gap, first, ended, wrong := l.take()
	stall := h.pulse.take()
	moreRetries, moreHedges := h.totals(ctx)
	h.outcomes = append(h.outcomes, outcome{
		fault: f, gap: gap, first: first, recovery: recovery, stall: stall,
		requests: ended - endedBefore,
		retries:  max(0, moreRetries-retries), hedges: max(0, moreHedges-hedges),
	})
	h.t.Logf("%s fault %d: %v: pause %s, first token %s, whole again after %s, stall of the test %s",
		began.UTC().Format("15:04:05.000"), f.Number, f, gap, ms(first), ms(recovery), ms(stall))
	h.judge(f, err, wrong)
}

// judge fails the test for what was wrong, and gives up where the cluster did not
// recover.
func (h *harness) judge(f fault, err error, wrong []string) {
	if err == nil && len(wrong) == 0 {
		return
	}
	h.failures++
	if len(wrong) > 0 {
		h.t.Errorf("seed %d, fault %d, %v: %d requests went wrong, the first: %s", h.seed, f.Number, f,
			len(wrong), wrong[0])
	}
	if err != nil {
		h.t.Errorf("seed %d, fault %d, %v: %v", h.seed, f.Number, f, err)
		h.failures = enough
	}
}

// totals are the retries and hedges of all coordinators since they started.
func (h *harness) totals(ctx context.Context) (retries, hedges int64) {
	for i := range h.cluster.fronts {
		if s, err := h.cluster.status(ctx, i); err == nil {
			retries, hedges = retries+s.Retries, hedges+s.Hedges
		}
	}
	return retries, hedges
}

// finish stops the load, compares footprints at rest, and reports.
func (h *harness) finish() {
	ctx, c := h.t.Context(), h.cluster
	c.load.stop()
	h.closeIdle()
	if h.failures < enough {
		if err := await(ctx, 30*time.Second, c.within(h.rest, atRest())); err != nil {
			h.t.Errorf("seed %d: at rest after all faults: %v", h.seed, err)
		}
		if now, err := c.measure(ctx); err == nil {
			for _, p := range slices.Concat(c.fronts, c.workers) {
				h.t.Logf("%s: %v; at first %v", p.name, now[p.name], h.rest[p.name])
			}
		}
	}
	if c.joined > 0 {
		h.t.Logf("a worker that joined was asked %s after its start at the latest", ms(c.joined))
	}
	h.t.Logf("seed %d, %d faults, %d with failures\n%s", h.seed, len(h.outcomes), h.failures,
		report(h.outcomes))
}
