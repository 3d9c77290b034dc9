package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/model"
)

func TestBound(t *testing.T) {
	c := Ceiling{Read: 20e9, Peak: 100e9}
	for _, k := range []struct{ operations, bytes, want float64 }{
		{2, 2, 20e9},  // one token of bf16
		{2, 4, 10e9},  // of float32
		{10, 2, 1e11}, // the corner
		{64, 2, 1e11},
		{5, 0, 1e11}, // nothing comes from memory
	} {
		if got := c.Bound(k.operations, k.bytes); got != k.want {
			t.Errorf("%v operations on %v bytes: bound %v, want %v", k.operations, k.bytes, got, k.want)
		}
	}
}

// TestFinish: where memory bounds, ratios are of the reading that came just after, whatever the best
// times were.
func TestFinish(t *testing.T) {
	l := &limit{threads: 1, bytes: 4e6, operations: 2e7}
	l.read.times, l.peak.times = []float64{2e-4, 4e-4}, []float64{2e-4} // 20 GB/s, 100 GFLOP/s
	c := &kernelCase{result: Result{Operations: 2e6, Bytes: 2e6}}
	c.against(l)
	c.repeat, c.times, c.ratios = 1, []float64{2e-4, 4e-4}, []float64{1, 1, 1}
	c.finish()
	if r := c.result; r.BytesPerSecond != 1e10 || r.Flops != 1e10 || !r.ReadBound || r.Ratio != 0.5 ||
		c.beside != &l.read || r.Runs != 2 {
		t.Errorf("%+v", r)
	}
	c.result.Cached = true
	c.against(l)
	c.finish()
	if r := c.result; r.ReadBound || r.Ratio != 0.1 || c.beside != nil {
		t.Errorf("from caches: %+v", r)
	}
}

func TestCrowded(t *testing.T) {
	for peak, want := range map[float64]bool{1.9e11: false, 1.4e11: true} {
		r := KernelsReport{Ceilings: []Ceiling{{Threads: 1, Peak: 1e11}, {Threads: 2, Peak: peak}}}
		if r.crowded() != want {
			t.Errorf("two threads at %v: crowded is %v", peak, !want)
		}
	}
	if (&KernelsReport{}).crowded() {
		t.Error("nothing is crowded")
	}
}

// Every turn comes at least once, however short the time is.
func TestTakeTurns(t *testing.T) {
	var order []string
	turns := []*turn{
		{run: func() { order = append(order, "a") }}, {run: func() { order = append(order, "b") }},
	}
	if err := takeTurns(t.Context(), turns, 0, nil); err != nil {
		t.Fatal(err)
	}
	for _, turn := range turns {
		if len(turn.times) == 0 || turn.best() <= 0 || turn.noise() < 0 {
			t.Errorf("%+v", turn)
		}
	}
	if order[0] != "a" || order[len(order)-1] != "b" {
		t.Error("they did not take turns")
	}
	limit := &turn{run: func() {}}
	limit.calibrate()
	turns[0].beside = limit
	turns[0].spend(time.Microsecond)
	if n := len(turns[0].ratios); n == 0 || n != len(limit.times) || turns[0].ratios[0] <= 0 {
		t.Errorf("%d ratios to %d times of the turn beside", n, len(limit.times))
	}
}

func TestQuantile(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 0.99: 5, 1: 5} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := quantile(nil, 0.5); got != 0 {
		t.Errorf("of nothing %v", got)
	}
}

func TestArena(t *testing.T) {
	a := &arena{data: make([]byte, 256)}
	first, second := a.take(100), a.take(100)
	if &first[0] != &a.data[0] || &second[0] != &a.data[128] {
		t.Error("parts do not follow each other")
	}
	if again := a.take(200); &again[0] != &a.data[0] {
		t.Error("what does not fit does not begin again")
	}
	meminfo := filepath.Join(t.TempDir(), "meminfo")
	if err := os.WriteFile(meminfo, []byte("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := availableMemory(meminfo); got != 2<<20 && got != 0 { // 0 but on Linux
		t.Errorf("available %d", got)
	}
	if _, err := newArena(1<<20, nil); err == nil || !strings.Contains(err.Error(), "want at least") {
		t.Errorf("small: %v", err)
	}
}

func TestShapeOf(t *testing.T) {
	for name, want := range map[string]Shape{
		"qwen3-30b-a3b": {Hidden: 2048, Width: 768, TopK: 8, Queries: 8, Keys: 128, Values: 128},
		"deepseek-v3":   {Hidden: 7168, Width: 2048, TopK: 8, Queries: 128, Keys: 576, Values: 512, Latent: true},
		"qwen3-0.6b":    {Hidden: 1024, Width: 3072, TopK: 1, Queries: 2, Keys: 128, Values: 128},
	} {
		spec, err := model.ReadConfig("../../model/testdata/configs/" + name + ".config.json")
		if err != nil {
			t.Fatal(err)
		}
		want.Name = name
		if got, err := ShapeOf(name, spec); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := ShapeOf("none", &model.Spec{Attention: model.Attention{Heads: 1, KVHeads: 1}}); err == nil {
		t.Error("a model without sizes has a shape")
	}
}

// TestHandful: experts have n rows on the mean, each at least one.
func TestHandful(t *testing.T) {
	for _, n := range []int{1, 2, 16, 128} {
		for _, experts := range []int{1, 2, 8} {
			sum := 0
			for i := range experts {
				count := handful(i, experts, n)
				if sum += count; count < 1 {
					t.Errorf("expert %d of %d has %d rows", i, experts, count)
				}
			}
			if sum < n*experts-experts || sum > n*experts {
				t.Errorf("%d experts have %d rows, want %d each", experts, sum, n)
			}
		}
	}
}

// TestKernels is a run on small shapes: what it finds is the machine's, but what it measures and
// how it is told are known.
func TestKernels(t *testing.T) {
	r, err := Kernels(t.Context(), KernelsConfig{
		Shape:  Shape{Name: "tiny", Hidden: 64, Width: 32, TopK: 3, Queries: 2, Keys: 16, Values: 16},
		Memory: LeastMemory, Threads: 2, Duration: time.Millisecond, Quick: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := 10*2*3*2 + 10*3*2 + 3*2*2 + 3; len(r.Results) != want || len(r.Ceilings) != 2 {
		t.Errorf("%d results and %d ceilings, want %d and 2", len(r.Results), len(r.Ceilings), want)
	}
	for _, k := range r.Results {
		if k.Seconds <= 0 || k.Flops <= 0 || k.Bound <= 0 || k.Ratio <= 0 || k.Runs < 1 {
			t.Errorf("%+v", k)
		}
	}
	var table, doc bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"READ GB/s", "F8_E4M3", "MXFP4", "Q4", "attention", "rmsnorm", "expert down", "3 of 32×64"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
	var again KernelsReport
	if err := r.WriteJSON(&doc); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc.Bytes(), &again); err != nil || len(again.Results) != len(r.Results) {
		t.Errorf("%v, %d results", err, len(again.Results))
	}
}
