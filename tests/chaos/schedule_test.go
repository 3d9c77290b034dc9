//go:build linux

package chaos

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// kind is what goes wrong.
type kind string

const (
	kill       kind = "kill"         // SIGKILL of a worker, started again later
	killAll    kind = "kill-all"     // the same of all workers at once: requests wait
	freeze     kind = "freeze"       // SIGSTOP of a worker
	delay      kind = "delay"        // all that a worker's host says and hears is late
	loss       kind = "loss"         // some of it is lost
	cut        kind = "cut"          // a coordinator and a worker do not hear each other
	cutOneWay  kind = "cut-one-way"  // one of them does not hear the other
	partition  kind = "partition"    // a worker's host is alone, without etcd
	slow       kind = "slow"         // a worker gets a part of a core
	diskFull   kind = "disk-full"    // a worker that loads from a URL has no room
	corrupt    kind = "corrupt"      // the origin flips a bit in what such a worker reads
	stale      kind = "stale"        // a coordinator is cut off etcd while the plan changes
	staleWork  kind = "stale-worker" // a worker is
	etcdKill   kind = "etcd-kill"    // SIGKILL of etcd, started again on its data
	etcdWipe   kind = "etcd-wipe"    // the same, but the data is gone
	etcdFreeze kind = "etcd-freeze"  // SIGSTOP of etcd
	killFront  kind = "kill-front"   // SIGKILL of the second coordinator
	killElect  kind = "kill-elected" // SIGKILL of the coordinator that plans
	drain      kind = "drain"        // conclave drain of a worker, which comes back later
	scale      kind = "scale"        // one more worker joins, takes work and leaves
	double     kind = "double"       // two of the others at once
	rolling    kind = "rolling"      // workers, etcd and a coordinator leave and start, one by one
)

// kinds are all, in the order of the report.
var kinds = []kind{
	kill, killAll, freeze, delay, loss, cut, cutOneWay, partition, slow, diskFull, corrupt,
	stale, staleWork, etcdKill, etcdWipe, etcdFreeze, killFront, killElect, drain,
	scale, double, rolling,
}

// parts may come in twos: they hit a worker that can be chosen, or etcd.
var parts = []kind{
	kill, freeze, delay, loss, cut, cutOneWay, partition, slow, etcdKill, etcdWipe, etcdFreeze,
}

// fault is something that goes wrong, when, where and for how long. Which fields
// count depends on the kind.
type fault struct {
	Number  int
	Kind    kind
	Worker  int
	Front   int
	Wait    time.Duration // before it happens
	Prefill bool          // it waits for a long prompt, and then Wait
	Hold    time.Duration // until it is mended
	Delay   time.Duration // one way
	Loss    float64
	Quota   float64 // of a core
	Reverse bool    // of a one-way cut: the coordinator does not hear the worker; of drain:
	// the worker runs on without experts
	Parts []fault
}

// shape is what a schedule must know of the cluster.
type shape struct {
	Workers, Fronts int
	MaxHold         time.Duration
}

// schedule returns faults first to first+n-1 of a seed. Kinds come in rounds, each
// once, in an order of their own.
func schedule(seed uint64, first, n int, kinds []kind, s shape) []fault {
	faults := make([]fault, 0, n)
	for i := range n {
		number := first + i
		round := rand.New(rand.NewPCG(seed, uint64(number/len(kinds))))
		order := round.Perm(len(kinds))
		random := rand.New(rand.NewPCG(seed, 1<<32+uint64(number)))
		f := draw(random, kinds[order[number%len(kinds)]], s)
		f.Number = number
		faults = append(faults, f)
	}
	return faults
}

// draw draws what a fault of a kind is like.
func draw(random *rand.Rand, k kind, s shape) fault {
	f := fault{
		Kind: k, Worker: random.IntN(s.Workers), Front: random.IntN(s.Fronts),
		Wait: uniform(random, 0, 300*time.Millisecond), Prefill: random.IntN(2) == 0,
		Hold:  uniform(random, 300*time.Millisecond, min(3*time.Second, s.MaxHold)),
		Delay: logUniform(random, time.Millisecond, 200*time.Millisecond),
		Loss:  0.01 + 0.19*random.Float64(), Quota: 0.05 + 0.45*random.Float64(),
		Reverse: random.IntN(2) == 0,
	}
	switch k {
	case freeze:
		f.Hold = logUniform(random, 300*time.Millisecond, min(20*time.Second, s.MaxHold))
	case partition, stale, staleWork, etcdFreeze: // some leases end, some do not
		f.Hold = uniform(random, time.Second, min(5*time.Second, s.MaxHold))
	case killFront, rolling:
		f.Front = s.Fronts - 1
	case diskFull, corrupt:
		f.Worker = s.Workers - 1 // the one that loads from a URL
	case double:
		f.Parts = drawParts(random, s)
	}
	if f.Prefill {
		f.Wait /= 10 // a prompt does not take long
	}
	return f
}

// drawParts draws two faults that hit different workers, and etcd once at most.
func drawParts(random *rand.Rand, s shape) []fault {
	order := random.Perm(len(parts))
	a := draw(random, parts[order[0]], s)
	b := draw(random, parts[order[1]], s)
	if onEtcd(a.Kind) && onEtcd(b.Kind) {
		b.Kind = kill
	}
	if a.Worker == b.Worker {
		b.Worker = (a.Worker + 1 + random.IntN(s.Workers-1)) % s.Workers
	}
	// Both copies of an expert may be away, so it must not last as long as requests wait.
	limit := min(4*time.Second, s.MaxHold)
	a.Hold, b.Hold = min(a.Hold, limit), min(b.Hold, limit)
	a.Prefill, b.Prefill = false, false
	return []fault{a, b}
}

func onEtcd(k kind) bool { return k == etcdKill || k == etcdWipe || k == etcdFreeze }

func uniform(random *rand.Rand, from, to time.Duration) time.Duration {
	return (from + time.Duration(random.Float64()*float64(to-from))).Round(time.Millisecond)
}

func logUniform(random *rand.Rand, from, to time.Duration) time.Duration {
	x := float64(from) * math.Pow(float64(to)/float64(from), random.Float64())
	return time.Duration(x).Round(time.Millisecond)
}

// String tells a fault in a line of the log.
func (f fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", f.Kind)
	switch f.Kind {
	case double:
		fmt.Fprintf(&b, " [%v; %v]", f.Parts[0], f.Parts[1])
		return b.String()
	case rolling:
		return b.String()
	case stale, killFront:
		fmt.Fprintf(&b, " coordinator %d", f.Front+1)
	case killAll, killElect, scale, etcdKill, etcdWipe, etcdFreeze:
	case cut, cutOneWay:
		fmt.Fprintf(&b, " coordinator %d, worker %d", f.Front+1, f.Worker+1)
	default:
		fmt.Fprintf(&b, " worker %d", f.Worker+1)
	}
	switch f.Kind {
	case delay:
		fmt.Fprintf(&b, ", %v each way", f.Delay)
	case loss:
		fmt.Fprintf(&b, ", %.0f %%", 100*f.Loss)
	case slow:
		fmt.Fprintf(&b, ", %.0f %% of a core", 100*f.Quota)
	case cutOneWay:
		fmt.Fprintf(&b, ", reverse %v", f.Reverse)
	case drain:
		fmt.Fprintf(&b, ", keep %v", f.Reverse)
	}
	fmt.Fprintf(&b, ", for %v", f.Hold)
	if f.Prefill {
		b.WriteString(", into a prompt")
	}
	return b.String()
}

// The same seed gives the same schedule, wherever in it one begins; another seed
// gives another; and each kind has its turn.
func TestSchedule(t *testing.T) {
	s := shape{Workers: 4, Fronts: 2, MaxHold: 20 * time.Second}
	all := schedule(7, 0, 200, kinds, s)
	if !reflect.DeepEqual(all, schedule(7, 0, 200, kinds, s)) {
		t.Error("the same seed gave another schedule")
	}
	if !reflect.DeepEqual(all[41:45], schedule(7, 41, 4, kinds, s)) {
		t.Error("a schedule that begins later is not the end of the whole")
	}
	if reflect.DeepEqual(all, schedule(8, 0, 200, kinds, s)) {
		t.Error("another seed gave the same schedule")
	}
	count := map[kind]int{}
	for _, f := range all {
		count[f.Kind]++
		mustBeWithin(t, f, s)
	}
	for _, k := range kinds {
		if n := count[k]; n < 200/len(kinds) || n > 200/len(kinds)+1 {
			t.Errorf("%s comes %d times", k, n)
		}
	}
}

func mustBeWithin(t *testing.T, f fault, s shape) {
	t.Helper()
	if f.Worker >= s.Workers || f.Front >= s.Fronts || f.Hold < 300*time.Millisecond ||
		f.Hold > s.MaxHold || f.Delay < time.Millisecond || f.Delay > 200*time.Millisecond ||
		f.Loss < 0.01 || f.Loss > 0.2 || f.Quota < 0.05 {
		t.Errorf("fault %+v is out of bounds", f)
	}
	if f.Kind != double {
		return
	}
	if f.Parts[0].Worker == f.Parts[1].Worker || onEtcd(f.Parts[0].Kind) && onEtcd(f.Parts[1].Kind) ||
		slices.ContainsFunc(f.Parts, func(p fault) bool { return p.Hold > 4*time.Second }) {
		t.Errorf("the parts of %+v get in each other's way", f)
	}
}
