package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

func TestRound(t *testing.T) {
	for v, want := range map[float64]float64{
		0: 0, 0.0004: 0, 0.0012345: 0.00123, 0.99951: 1, 1.005001: 1.01, 12.345: 12.3, 999.6: 1000,
		123456: 123000, 1.9876e10: 1.99e10, math.Inf(1): 0, math.NaN(): 0, -1: 0,
	} {
		if got := round(v); math.Abs(got-want) > 1e-9*want {
			t.Errorf("round(%v) = %v, want %v", v, got, want)
		}
	}
}

func someLoad(steps, rate float64, speed float64) dispatch.Load {
	return dispatch.Load{
		Steps: steps, Workers: map[shard.WorkerID]dispatch.WorkerLoad{"a": {Speed: speed}, "b": {}},
		Layers: []shard.LayerLoad{{}, {
			Rows:  []float32{float32(2 * rate), 1.23456},
			Reads: []float32{float32(rate), 0.5},
		}},
	}
}

// A report is written when it says something new, and again whenever the registry
// may have lost it.
func TestReporter(t *testing.T) {
	var written []string
	var load dispatch.Load
	var broken error
	r := reporter{
		model: "m", load: func() dispatch.Load { return load }, log: slog.New(slog.DiscardHandler),
		put: func(_ context.Context, data []byte) error {
			written = append(written, string(data))
			return broken
		},
	}
	step := func(what string, next dispatch.Load, want int, last string) {
		t.Helper()
		load = next
		r.report(t.Context())
		if len(written) != want || want > 0 && written[want-1] != last {
			t.Errorf("%s: written %v, want %d with %s", what, written, want, last)
		}
	}
	first := `{"model":"m","layers":[{},{"rows":[20,1.23],"reads":[10,0.5]}],"speeds":{"a":1230000}}`
	second := `{"model":"m","layers":[{},{"rows":[40,1.23],"reads":[20,0.5]}],"speeds":{"a":1230000}}`
	third := `{"model":"m","layers":[{},{"rows":[40,1.23],"reads":[20,0.5]}],"speeds":{"a":5000000}}`
	step("before the first step", someLoad(0, 0, 0), 0, "")
	step("traffic", someLoad(1, 10, 1234567), 1, first)
	step("hardly a change", someLoad(1, 10.5, 1234567), 2, first)
	broken = errors.New("etcd is away")
	step("more", someLoad(2, 20, 1234567), 3, second)
	step("no traffic since", someLoad(1, 9, 1234567), 4, second)
	step("another speed", someLoad(2, 20, 5e6), 5, third)
	if got, err := shard.DecodeReport([]byte(third)); err != nil || got.Speeds["a"] != 5e6 {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

func TestAlike(t *testing.T) {
	base := newReport("m", someLoad(1, 10, 1e6))
	other := newReport("m", someLoad(1, 10, 1e6))
	other.Layers[1].Rows = other.Layers[1].Rows[:1]
	more := newReport("m", someLoad(1, 10, 1e6))
	more.Speeds["c"] = 1
	for name, r := range map[string]*shard.Report{
		"another load": newReport("m", someLoad(1, 12, 1e6)), "fewer experts": other, "a worker more": more,
		"fewer layers": {Speeds: base.Speeds},
	} {
		if alike(base, r) {
			t.Errorf("alike: %s", name)
		}
	}
	if !alike(base, newReport("m", someLoad(5, 10.3, 1.05e6))) || alike(nil, base) {
		t.Error("a near one is not alike, or anything is like nothing")
	}
}

// The largest published model fits well: 61 layers of 256 experts, all in use.
func TestReportSize(t *testing.T) {
	load := dispatch.Load{Layers: make([]shard.LayerLoad, 61)}
	r := rand.New(rand.NewPCG(1, 2))
	for l := range load.Layers {
		layer := shard.LayerLoad{Rows: make([]float32, 256), Reads: make([]float32, 256)}
		for e := range layer.Rows {
			layer.Rows[e], layer.Reads[e] = float32(r.ExpFloat64()*100), float32(r.ExpFloat64())
		}
		load.Layers[l] = layer
	}
	report := newReport("m", load)
	data, err := report.Encode()
	if err != nil || len(data) > membership.MaxReportBytes/4 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	t.Logf("%d bytes", len(data))
	got, err := shard.DecodeReport(data)
	if d := cmp.Diff(report.Layers, got.Layers); err != nil || d != "" {
		t.Errorf("read back (-want +got):\n%s, %v", d, err)
	}
}
