package bench

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/shard"
)

// TestModel is a run over the built-in model and two workers: figures are the machine's, but how
// many steps they are of, and that the parts are the whole, is known.
func TestModel(t *testing.T) {
	var said []string
	r, err := Model(t.Context(), ModelConfig{
		Source: Source{Dir: "../demo/checkpoint"}, Workers: 2, Threads: 2, Wire: wire.BF16,
		ExpertsQuant: shard.QuantInt4, Batches: []int{1, 3}, Prompts: []int{16}, Steps: 5, Context: 7,
		Progress: func(what string) { said = append(said, what) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(said, ", "); got != "load, prompt of 16, decode, batch of 1, decode, batch of 3" {
		t.Errorf("progress: %s", got)
	}
	want := []ModelStep{
		{Kind: "prefill", Rows: 16, Steps: 1}, {Kind: "decode", Rows: 1, Steps: 5},
		{Kind: "decode", Rows: 3, Steps: 5},
	}
	if len(r.Runs) != len(want) {
		t.Fatalf("%d runs, want %d", len(r.Runs), len(want))
	}
	for i, s := range r.Runs {
		if s.Kind != want[i].Kind || s.Rows != want[i].Rows || s.Steps != want[i].Steps {
			t.Errorf("run %d is %s of %d, %d steps; want %+v", i, s.Kind, s.Rows, s.Steps, want[i])
		}
		if math.Abs(s.Covered-1) > 0.05 {
			t.Errorf("%s of %d: the parts are %.1f %% of a step", s.Kind, s.Rows, 100*s.Covered)
		}
		p := s.Split
		if min(p.Attention, p.Gate, p.Hop, p.Expert, p.Combine, p.Head, p.Sampling, p.Other) <= 0 {
			t.Errorf("%s of %d: a part took no time: %+v", s.Kind, s.Rows, p)
		}
		if s.Best > s.Seconds || s.TokensPerSecond <= 0 || s.Allocations < 0 || s.Collections < 0 {
			t.Errorf("%+v", s)
		}
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"TOKENS/s", "sampling", "2 worker(s)", "bf16 on the wire", "experts int4"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
}

func TestModelRefuses(t *testing.T) {
	for _, c := range []struct {
		cfg  ModelConfig
		want string
	}{
		{ModelConfig{}, "a checkpoint or a config.json is needed"},
		{ModelConfig{Source: Source{Dir: "."}, Batches: []int{0}}, "batch of 0: want 1 to 1024"},
		{ModelConfig{Source: Source{Dir: "."}, Steps: -1}, "steps -1"},
		{ModelConfig{Source: Source{Dir: "."}}, "config.json"},
		{ModelConfig{Source: Source{Config: "model.go"}}, "model.go: not a JSON object"},
		{ModelConfig{Source: Source{Dir: "../demo/checkpoint"}, Prompts: []int{60000}}, "the model has"},
	} {
		if _, err := Model(t.Context(), c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// TestModelStops: whoever stops a measurement gets no report, and nothing stays behind.
func TestModelStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Model(ctx, ModelConfig{
		Source: Source{Dir: "../demo/checkpoint"}, Threads: 1, Prompts: []int{8},
		Progress: func(what string) {
			if strings.HasPrefix(what, "decode") {
				cancel()
			}
		},
	})
	if err == nil || ctx.Err() == nil {
		t.Errorf("error %v", err)
	}
}

// A window is of steps that fit, in a row, after those to skip.
func TestWindow(t *testing.T) {
	r := &recorder{hops: func() dispatch.Hops { return dispatch.Hops{} }}
	hold, closed := make(chan struct{}), 0
	close(hold)
	r.watch(2, 1, 3, true, hold, func() { closed++ })
	decode := []forward.Row{{Logits: true}, {Logits: true}}
	prompt := []forward.Row{{}, {Logits: true}}
	steps := [][]forward.Row{prompt, decode, decode, decode, decode[:1], decode}
	for i, rows := range steps {
		r.mark(between)
		if err := r.enter(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		if open := i == 2 || i == 3; r.open != open {
			t.Errorf("at step %d the window is open: %v", i, r.open)
		}
		r.phase(forward.PhaseAttention)
	}
	if len(r.each) != 2 || closed != 1 || r.wall <= 0 {
		t.Errorf("%d steps in %v, closed %d times; want 2 and once", len(r.each), r.wall, closed)
	}
	var sum time.Duration
	for _, p := range r.parts {
		sum += p
	}
	if sum > r.wall || r.parts[forward.PhaseAttention] == 0 {
		t.Errorf("parts of %v in %v", sum, r.wall)
	}
}

func TestComputing(t *testing.T) {
	from := dispatch.Hops{Network: 1, Queue: 1, Compute: 1}
	to := dispatch.Hops{Network: 3, Queue: 2, Compute: 10}
	if got := computing(from, to); got != 0.75 {
		t.Errorf("computed %v of the time, want 0.75", got)
	}
	if got := computing(from, from); got != 0 {
		t.Errorf("without calls %v", got)
	}
}
