package forward

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/internal/demo"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// localExperts runs the experts in this process, one at a time. It fails in
// layer failLayer while that is not negative.
type localExperts struct {
	store     *shard.Store
	pool      *kernels.Pool
	hidden    int
	failLayer int
	gate, up  []float32
	y         []float32
	away      [MicroBatches]sent
}

// sent is what Receive is to answer.
type sent struct {
	layer int
	x     []float32
	c     router.Choice
}

var errLost = errors.New("the worker is lost")

// Send implements Experts.
func (x *localExperts) Send(micro, layer int, in []float32, c router.Choice) {
	x.away[micro] = sent{layer, in, c}
}

// Receive implements Experts.
func (x *localExperts) Receive(_ context.Context, micro int, out []float32) error {
	layer, in, c := x.away[micro].layer, x.away[micro].x, x.away[micro].c
	if layer == x.failLayer {
		for i := range out {
			out[i] = float32(math.NaN()) // what a broken exchange leaves behind
		}
		return errLost
	}
	clear(out)
	for i, e := range c.Experts {
		t := i / c.K
		w := x.store.Expert(layer, int(e))
		gate, up := x.gate[:w.Gate.Rows], x.up[:w.Up.Rows]
		row := in[t*x.hidden : (t+1)*x.hidden]
		x.pool.MatMul(gate, row, 1, w.Gate)
		x.pool.MatMul(up, row, 1, w.Up)
		kernels.SwiGLU(gate, gate, up)
		x.pool.MatMul(x.y, gate, 1, w.Down)
		for j, v := range x.y {
			out[t*x.hidden+j] += c.Weights[i] * v
		}
	}
	return nil
}

// noExperts answers every layer with zeros.
type noExperts struct{}

// Send implements Experts.
func (noExperts) Send(int, int, []float32, router.Choice) {}

// Receive implements Experts.
func (noExperts) Receive(_ context.Context, _ int, out []float32) error {
	clear(out)
	return nil
}

// testModel is a loaded model with its parts.
type testModel struct {
	*Model
	cache   *kvcache.Cache
	experts *localExperts
}

const testRows = 64

func load(t testing.TB, dir string, threads int, replace Experts) *testModel {
	t.Helper()
	return loadCached(t, dir, threads, replace, kernels.F32)
}

// loadCached loads a model whose cache stores a format.
func loadCached(
	t testing.TB, dir string, threads int, replace Experts, format kernels.Format,
) *testModel {
	t.Helper()
	return loadQuantised(t, dir, threads, replace, format, quants{})
}

// quants are what experts, and the other matrices, are quantised to.
type quants struct{ experts, attention shard.Quant }

func loadQuantised(
	t testing.TB, dir string, threads int, replace Experts, format kernels.Format, q quants,
) *testModel {
	t.Helper()
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
	shape := CacheShape(spec)
	shape.Format, shape.Bytes, shape.Step, shape.Prefix = format, 32<<20, testRows, true
	cache, err := kvcache.New(shape)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close() })
	pool := kernels.NewPool(threads)
	t.Cleanup(pool.Close)
	x := &localExperts{
		store: shard.NewQuantizedStore(spec, ck, q.experts), pool: pool, hidden: spec.Hidden, failLayer: -1,
		gate: make([]float32, spec.ExpertWidth), up: make([]float32, spec.ExpertWidth), y: make([]float32, spec.Hidden),
	}
	for l, layer := range spec.Layers {
		for e := range spec.Experts {
			if layer.MoE == nil {
				break
			}
			if err := x.store.Load(t.Context(), l, shard.NewSet(e), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if replace == nil {
		replace = x
	}
	m, err := New(t.Context(), Config{
		Spec: spec, Checkpoint: ck, Cache: cache, Pool: pool, Experts: replace,
		Quant: q.attention, MaxRows: testRows, MaxLogits: testRows,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &testModel{m, cache, x}
}

// rows lays out tokens from position pos on, all with logits.
func (m *testModel) rows(t testing.TB, s *kvcache.Sequence, pos int, tokens ...int32) []Row {
	t.Helper()
	if !m.cache.Grow(s, pos, pos+len(tokens)) {
		t.Fatal("the cache is full")
	}
	out := make([]Row, len(tokens))
	for i, token := range tokens {
		out[i] = Row{Token: token, Pos: pos + i, Seq: s, Logits: true}
	}
	return out
}

func (m *testModel) step(t testing.TB, rows []Row) []float32 {
	t.Helper()
	logits, err := m.Step(t.Context(), rows, 1)
	if err != nil {
		t.Fatal(err)
	}
	return append([]float32(nil), logits...)
}

func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) || len(want) == 0 {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

const goldens = "../../testdata/golden/"

var (
	testPrompt = []int32{5, 17, 3, 44, 9, 21, 60, 2, 33, 12}
	neighbour  = []int32{7, 7, 1, 30}
)

// A step that fails in any layer, and is run again, gives the bits of a step
// that never failed; so do the steps after it.
func TestStepAgain(t *testing.T) {
	for _, name := range []string{"qwen3moe-norm", "qwen3moe-mixed-f16", "gptoss-32-experts", "deepseek-v3-fp8"} {
		t.Run(name, func(t *testing.T) {
			var want [2][]float32
			m := load(t, goldens+name, 2, nil)
			for fail := -1; fail < len(m.spec.Layers); fail++ {
				if fail >= 0 && m.spec.Layers[fail].MoE == nil {
					continue
				}
				var a, b kvcache.Sequence
				steps := [2]func() []Row{
					func() []Row { return append(m.rows(t, &a, 0, testPrompt...), m.rows(t, &b, 0, neighbour...)...) },
					func() []Row {
						return append(m.rows(t, &a, len(testPrompt), 8), m.rows(t, &b, len(neighbour), 3)...)
					},
				}
				for i, lay := range steps {
					rows := lay()
					if fail < 0 {
						want[i] = m.step(t, rows)
						continue
					}
					m.experts.failLayer = fail
					if _, err := m.Step(t.Context(), rows, 1); !errors.Is(err, errLost) {
						t.Fatalf("failing step: %v", err)
					}
					m.experts.failLayer = -1
					sameBits(t, "the step run again", m.step(t, rows), want[i])
				}
				m.cache.Release(&a)
				m.cache.Release(&b)
			}
		})
	}
}

// Only rows that ask get logits, in order, the same as when all ask.
func TestLogitsOfSomeRows(t *testing.T) {
	m := load(t, goldens+"qwen3-dense-tied", 2, nil)
	var s kvcache.Sequence
	rows := m.rows(t, &s, 0, testPrompt...)
	all := m.step(t, rows)
	vocab := m.spec.Vocab
	var want []float32
	for i := range rows {
		rows[i].Logits = i%3 == 1
		if rows[i].Logits {
			want = append(want, all[i*vocab:(i+1)*vocab]...)
		}
	}
	sameBits(t, "some rows", m.step(t, rows), want)
	for i := range rows {
		rows[i].Logits = false
	}
	if got := m.step(t, rows); len(got) != 0 {
		t.Errorf("%d logits though no row asks", len(got))
	}
}

// The number of threads changes no bit.
func TestThreads(t *testing.T) {
	var want []float32
	for _, threads := range []int{1, 2, 5} {
		m := load(t, goldens+"qwen3moe-norm", threads, nil)
		var s kvcache.Sequence
		got := m.step(t, m.rows(t, &s, 0, testPrompt...))
		m = load(t, goldens+"deepseek-v3-fp8", threads, nil)
		got = append(got, m.run(t, testPrompt, func(pos int) bool { return pos < 6 })...)
		if want == nil {
			want = got
		}
		sameBits(t, "logits", got, want)
	}
}

func TestNewRefuses(t *testing.T) {
	m := load(t, goldens+"qwen3moe-norm", 1, nil)
	cfg := Config{Spec: m.spec, Checkpoint: nil, Cache: m.cache, Pool: m.pool, MaxRows: 2, MaxLogits: 3}
	if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "3 logits") {
		t.Errorf("more logits than rows: %v", err)
	}
	ck, err := safetensors.Open(goldens + "qwen3-dense-tied") // another model's
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	cfg.Checkpoint, cfg.MaxLogits = ck, 1
	if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "load attention weights") {
		t.Errorf("wrong checkpoint: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled load: %v", err)
	}
}

func TestNoAllocationPerStep(t *testing.T) {
	for _, name := range []string{
		"qwen3moe-norm", "qwen3-dense-tied", "gptoss-32-experts", "deepseek-v3-fp8", "glm4moe-qknorm",
	} {
		m := load(t, goldens+name, 2, noExperts{})
		var s kvcache.Sequence
		rows := m.rows(t, &s, 0, testPrompt...)
		m.step(t, rows)
		rows = append(m.rows(t, &s, len(testPrompt), 4, 9, 2), m.rows(t, &s, len(testPrompt)+3, 4)...)
		rows[0].Expand, rows[1].Expand = true, true
		if n := testing.AllocsPerRun(50, func() {
			if _, err := m.Step(context.Background(), rows, 1); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations per decode step", name, n)
		}
	}
}

// BenchmarkStep measures steps of the demo model without its experts, at a
// context of a hundred positions.
func BenchmarkStep(b *testing.B) {
	dir, err := demo.Unpack(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	m := load(b, dir, 2, noExperts{})
	var s kvcache.Sequence
	for pos := 0; pos < 100; pos += 50 {
		m.step(b, m.rows(b, &s, pos, make([]int32, 50)...))
	}
	for _, c := range []struct {
		name string
		rows int
	}{{"decode", 1}, {"prefill-64", 64}} {
		b.Run(c.name, func(b *testing.B) {
			rows := m.rows(b, &s, 100, make([]int32, c.rows)...)
			for i := range rows[:c.rows-1] {
				rows[i].Logits = false
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Step(context.Background(), rows, 1); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*c.rows)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

// Micro-batches change no bit, wherever they are cut: a prompt, a sequence that
// decodes and one that begins are in one step.
func TestPartsHaveTheBitsOfTheWhole(t *testing.T) {
	for _, dir := range []string{goldens + "qwen3moe-norm", goldens + "deepseek-v3-fp8", goldens + "gptoss-32-experts"} {
		m := load(t, dir, 2, nil)
		var alone, prompt, decoding, short kvcache.Sequence
		want := m.step(t, m.rows(t, &alone, 0, testPrompt...))
		vocab := m.spec.Vocab
		n := len(testPrompt)
		m.step(t, m.rows(t, &prompt, 0, testPrompt[:2]...))
		m.step(t, m.rows(t, &decoding, 0, testPrompt[:n-1]...))
		rows := m.rows(t, &decoding, n-1, testPrompt[n-1])
		rows = append(rows, m.rows(t, &prompt, 2, testPrompt[2:]...)...)
		rows = append(rows, m.rows(t, &short, 0, testPrompt[0])...)
		got, err := m.Step(t.Context(), rows, 2)
		if err != nil {
			t.Fatal(err)
		}
		sameBits(t, "decoding", got[:vocab], want[(n-1)*vocab:])
		sameBits(t, "prompt", got[vocab:(n-1)*vocab], want[2*vocab:])
		sameBits(t, "short", got[(n-1)*vocab:], want[:vocab])
	}
}

func TestCut(t *testing.T) {
	var a, b kvcache.Sequence
	long := make([]Row, 12) // 7 rows of a, 5 of b
	for i := range long {
		long[i].Seq = &a
		if i >= 7 {
			long[i].Seq = &b
		}
	}
	for _, c := range []struct{ rows, hi, want int }{
		{12, 6, 7}, // between the sequences
		{12, 4, 4}, // they are too far
		{2, 1, 1}, {12, 12, 12},
	} {
		if got := cut(long[:c.rows], c.hi, 0); got != c.want {
			t.Errorf("%d of %d rows: cut at %d, want %d", c.hi, c.rows, got, c.want)
		}
	}
}
