package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-serve/conclave/coordinator"
	"github.com/conclave-serve/conclave/coordinator/engine"
)

func someCluster(tokens int64) *coordinator.Cluster {
	return &coordinator.Cluster{
		Coordinator: "c1", Model: "demo", Ready: true, Registry: true, Controller: "c2", Epoch: 7,
		Placement: coordinator.Placement{
			Before: .5, After: .9, Rebalances: 2, Moves: 30, MovedBytes: 3e9, StepsLeft: 4,
		},
		ReplicasLeast: 1, ReplicasMost: 2, Balancedness: 0.667, StepsPerSecond: 123.4, CallsPerStep: 2.5,
		ExpertsPerCall: 3, ExpertBytesPerStep: 3_500_000,
		Engine: engine.Stats{Running: 4, Waiting: 1, PagesUsed: 20, PagesTotal: 100, GeneratedTokens: tokens},
		Workers: []coordinator.WorkerSight{
			{
				ID: "a", Gossip: "alive", Lane: true, Experts: 64, BytesHeld: 2_900_000, Speed: 1.2e10, Share: 0.75,
				PredictedShare: 0.5, ComputePerStep: 0.0123, CallsPerSecond: 10, Network: 0.00012, QueueSeconds: 0.00001,
				ComputeSeconds: 0.00245, Retries: 3, Hedges: 4,
			},
			{
				ID: "b\x1b[2J", Gossip: "dead", Share: 0.25, Failures: 2, LastFailure: "reset\nby peer",
				LastFailureAt: time.Unix(57, 0),
			},
		},
		Layers: []coordinator.LayerSight{
			{
				Layer: 1, Heat: 1.5, Rows: []float32{1, 2, 400}, Reads: []float32{1, 2, 3},
				Replicas: [][]int{{0}, {0, 1}, {1, 9}},
			},
			{Layer: 2}, {Layer: 3, Heat: 20},
		},
	}
}

// The picture, as wide as the screen allows and no wider; a peer's words cannot
// steer the terminal.
func TestView(t *testing.T) {
	v := view{
		now: someCluster(150), before: someCluster(100), since: 2 * time.Second, at: time.Unix(60, 0).UTC(), width: 108,
	}
	want := strings.TrimSpace(`
demo at c1, 00:01:00: ready
requests   4 running, 1 waiting, 25.0 tokens/s; cache 20 of 100 pages
steps      123/s, 2.5 calls of 3 experts, 3.5 MB read
placement  epoch 7, rebalancing, 4 layers to come, controller c2
balance    0.67 measured, - by the load; 1 to 2 copies of an expert
rebalanced 2 times, 30 experts moved, 3.0 GB; last from 0.50 to 0.90

WORKER  STATE  SHARE           LOAD   SPEED    STEP  NET + QUEUE + COMPUTE  AGAIN  HEDGED  EXPERTS
a       open   ██████    75 %   50 %  12 GB/s  12ms  120µs + 10µs + 2.45ms  3      4       64, 2.9 MB
b[2J    dead   ██        25 %    0 %  -        -     -                      0      0       0, 0 B

failed     b[2J 3s ago, 2 in all: resetby peer

hottest experts
  layer 1   expert 2         3 reads/s    400 rows/s  on b[2J
  layer 1   expert 1         2 reads/s      2 rows/s  on a, b[2J
  layer 1   expert 0         1 reads/s      1 rows/s  on a

heat of each layer, 1 to 3: most wanted by mean, ▁ 1 to █ 8; most 20
  ▁·█`)
	if d := cmp.Diff(want, strings.Join(v.lines(), "\n")); d != "" {
		t.Errorf("picture (-want +got):\n%s", d)
	}
	for _, width := range []int{1, 3, 20, 300} {
		v.width = width
		for _, line := range v.lines() {
			if n := len([]rune(line)); n > width {
				t.Errorf("%d characters on a screen of %d: %q", n, width, line)
			}
		}
	}
	v.now, v.before = &coordinator.Cluster{Missing: "experts 1", Settled: true}, nil
	text := strings.Join(v.lines(), "\n")
	for _, part := range []string{"not ready: experts 1", "- tokens/s", "settled, controller none", "registry out of reach"} {
		if !strings.Contains(text, part) {
			t.Errorf("an empty cluster lacks %q:\n%s", part, text)
		}
	}
}

// More layers than columns share them, and the hottest shows.
func TestHeatOfManyLayers(t *testing.T) {
	s := &coordinator.Cluster{Layers: make([]coordinator.LayerSight, 61)}
	for l := range s.Layers {
		s.Layers[l] = coordinator.LayerSight{Layer: l, Heat: 1}
	}
	s.Layers[59].Heat = 5
	v := view{now: s, width: 22}
	lines := v.heat()
	if want := "  " + strings.Repeat("▁", 14) + "▅▁"; lines[1] != want || !strings.Contains(lines[0], "every 4 layers") {
		t.Errorf("%q, want %q", lines, want)
	}
}

func TestBar(t *testing.T) {
	for part, want := range map[float64]string{
		0: "    ", 1: "████", 0.5: "██  ", 0.03125: "▏   ", 0.46875: "█▉  ", 7: "████", -1: "    ",
	} {
		if got := bar(part, 4); got != want {
			t.Errorf("bar(%v) = %q, want %q", part, got, want)
		}
	}
}

// A coordinator that goes away is waited for, and the picture stays; one that never
// answered is an error.
func TestWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	away := errors.New("connection refused")
	answers := []error{nil, away, away, nil}
	var plain, lines, complaints strings.Builder
	look := 0
	w := watcher{
		interval: time.Millisecond,
		look: func(context.Context) (*coordinator.Cluster, error) {
			err := answers[look]
			look++
			return someCluster(int64(100 * look)), err
		},
		show: func(s *watched) error {
			if look == len(answers) {
				cancel()
			}
			return errors.Join(showPlain(&plain, s), showJSON(&lines, &complaints, s))
		},
	}
	if err := w.run(ctx); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(plain.String(), "no answer, trying again: connection refused"); n != 2 {
		t.Errorf("%d complaints, want 2:\n%s", n, plain.String())
	}
	if n := strings.Count(plain.String(), "demo at c1"); n != 2 {
		t.Errorf("%d pictures, want 2:\n%s", n, plain.String())
	}
	if n := strings.Count(lines.String(), "\n"); n != 2 || strings.Count(complaints.String(), "\n") != 2 {
		t.Errorf("JSON %q, complaints %q", lines.String(), complaints.String())
	}
	w.look = func(context.Context) (*coordinator.Cluster, error) { return nil, away }
	if err := w.run(t.Context()); !errors.Is(err, away) {
		t.Errorf("never an answer: %v", err)
	}
}

// A picture on a terminal replaces the last one, line by line.
func TestScreen(t *testing.T) {
	path := t.TempDir() + "/tty"
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	s := &watched{view: view{now: someCluster(1), at: time.Unix(60, 0)}, err: errors.New("gone")}
	if err := (screen{f}).show(s); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	text := string(data)
	if err != nil || !strings.HasPrefix(text, homeCursor+"no answer, trying again: gone"+clearLine) ||
		!strings.HasSuffix(text, clearBelow) || strings.Count(text, "\n") > 23 {
		t.Errorf("%q, %v", text, err)
	}
}
