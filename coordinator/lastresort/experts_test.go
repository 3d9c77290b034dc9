package lastresort

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a small checkpoint and a pool.
func open(t *testing.T, name string) (*model.Spec, *safetensors.Checkpoint, *kernels.Pool) {
	t.Helper()
	dir := "../../testdata/golden/" + name
	spec, err := model.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	ck, err := safetensors.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ck.Close() })
	if err := spec.Check(ck); err != nil {
		t.Fatal(err)
	}
	pool := kernels.NewPool(2)
	t.Cleanup(pool.Close)
	return spec, ck, pool
}

// An expert has the bits that a worker's has, quantised or not, before and after
// its memory was given back.
func TestRunIsWhatWorkersRun(t *testing.T) {
	for name, quant := range map[string]shard.Quant{
		"qwen3moe-norm": shard.QuantNone, "qwen3moe-fp8-yarn": shard.QuantNone,
		"gptoss-32-experts": shard.QuantNone, "qwen3moe-fp8": shard.QuantInt8,
		"gptoss-no-yarn": shard.QuantInt4,
	} {
		t.Run(name, func(t *testing.T) {
			spec, ck, pool := open(t, name)
			layer := slices.IndexFunc(spec.Layers, func(l model.Layer) bool { return l.MoE != nil })
			x := make([]float32, 5*spec.Hidden)
			for i := range x {
				x[i] = float32(math.Sin(float64(i)))
			}
			rows, weights := []uint32{0, 3, 4}, []float32{.5, .25, .75}
			store := shard.NewQuantizedStore(spec, ck, quant)
			if err := store.Load(t.Context(), layer, shard.NewSet(1, 2), nil); err != nil {
				t.Fatal(err)
			}
			experts := New(spec, ck, quant, pool)
			var work shard.Work
			for _, e := range []int{1, 2, 1} {
				want := work.Run(pool, spec.Activation, store.Expert(layer, e), x, rows, weights)
				got, err := experts.Run(t.Context(), layer, e, x, rows, weights)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want) {
					t.Errorf("expert %d differs", e)
				}
				if e == 2 {
					experts.Release()
					if experts.store.Bytes() != 0 {
						t.Error("it holds experts after Release")
					}
				}
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	spec, ck, pool := open(t, "qwen3moe-norm")
	experts := New(spec, ck, shard.QuantNone, pool)
	if _, err := experts.Run(t.Context(), 0, 1<<20, nil, nil, nil); err == nil {
		t.Error("an expert that does not exist is computed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := experts.Run(ctx, 0, 0, nil, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
