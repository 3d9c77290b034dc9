package shard

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// drawRounded returns an expert of random weights, quantised or in MXFP4 with biases, as it is held
// for activations in int8.
func drawRounded(t *testing.T, r *rand.Rand, q Quant, hidden, width int) *Expert {
	t.Helper()
	f := kernels.F32
	if q.Exact() == QuantNone {
		f = kernels.MXFP4
	}
	e := drawExpert(r, f, hidden, width)
	if f == kernels.MXFP4 { // gate and up are rows of one tensor by turns, as gpt-oss has them
		both := drawWeights(r, f, 2*width, hidden)
		e.Gate, e.Up = everyOther(both, 0), everyOther(both, 1)
	}
	if err := q.Quantize(nil, &e.Gate, &e.Up, &e.Down); err != nil {
		t.Fatal(err)
	}
	for _, m := range []kernels.Matrix{e.Gate, e.Up, e.Down} {
		if !m.Format.Interleaved() {
			t.Fatalf("%v: a matrix is held in %v", q, m.Format)
		}
	}
	return e
}

// everyOther returns the even or the odd rows of a matrix in MXFP4.
func everyOther(m kernels.Matrix, first int) kernels.Matrix {
	row, group := m.Format.Bytes(m.Cols), m.Cols/32
	rows := kernels.Matrix{
		Format: m.Format, Rows: m.Rows / 2, Cols: m.Cols,
		Data: m.Data[first*row:], Stride: 2 * row,
		Exponents: m.Exponents[first*group:], ExponentStride: 2 * group,
	}
	for i := range rows.Rows {
		rows.Bias = append(rows.Bias, m.Bias[2*i+first])
	}
	return rows
}

var roundedQuants = []Quant{QuantInt8.Rounded(), QuantInt4.Rounded(), QuantNone.Rounded()}

// A group of rounded activations has the bits of each expert alone, whatever the tiles and threads,
// also if the last band of rows is not whole.
func TestRoundedGroupIsItsExperts(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	clamped := model.Activation{Alpha: 1.702, Limit: 7}
	for _, q := range roundedQuants {
		for _, shape := range [][2]int{{32, 32}, {96, 160}, {2080, 64}, {64, 1056}, {40, 88}} {
			hidden, width := shape[0], shape[1]
			if hidden%32 != 0 && q.Exact() == QuantNone {
				continue // MXFP4 has whole groups only
			}
			experts := make([]*Expert, 1+r.IntN(9))
			for i := range experts {
				experts[i] = drawRounded(t, r, q, hidden, width)
			}
			var w Work
			for _, threads := range []int{1, 2, 3} {
				t.Run(fmt.Sprintf("%v/%dx%d/threads=%d", q, hidden, width, threads), func(t *testing.T) {
					pool := kernels.NewPool(threads)
					defer pool.Close()
					for i, tokens := range []int{1, 2, 7, 50, 120} {
						a := []model.Activation{{}, clamped}[(i+threads)%2]
						mustBePlain(t, &w, pool, a, drawGroup(r, experts, tokens, hidden))
					}
				})
			}
		}
	}
}

// Experts that are held otherwise, or are of another width, are computed apart from one another.
func TestRoundedGroupOfSeveralKinds(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	const hidden = 96
	var experts []*Expert
	for i, q := range append(roundedQuants, roundedQuants...) {
		experts = append(experts, drawRounded(t, r, q, hidden, 64+32*(i/3)),
			drawExpert(r, kernels.BF16, hidden, 64))
	}
	pool := kernels.NewPool(2)
	defer pool.Close()
	var w Work
	for _, tokens := range []int{1, 9, 70} {
		mustBePlain(t, &w, pool, model.Activation{}, drawGroup(r, experts, tokens, hidden))
	}
}

// Rearranged MXFP4 has the weights and the biases that it had.
func TestRoundedMXFP4KeepsWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	both := drawWeights(r, kernels.MXFP4, 2*40, 96)
	for first := range 2 {
		before := everyOther(both, first)
		after := before
		if err := QuantNone.Rounded().Quantize(nil, &after); err != nil {
			t.Fatal(err)
		}
		a, b := make([]float32, before.Cols), make([]float32, before.Cols)
		for i := range before.Rows {
			kernels.DecodeRow(a, before, i)
			kernels.DecodeRow(b, after, i)
			for c := range a {
				if a[c] != b[c] || after.Bias[i] != both.Bias[2*i+first] {
					t.Fatalf("row %d column %d is %v, want %v", i, c, b[c], a[c])
				}
			}
		}
	}
}

// Rounding takes no memory once it is there.
func TestRoundedGroupAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	pool := kernels.NewPool(2)
	defer pool.Close()
	for _, q := range roundedQuants {
		experts := []*Expert{drawRounded(t, r, q, 64, 96), drawRounded(t, r, q, 64, 96)}
		g := drawGroup(r, experts, 20, 64)
		sink, w := newRowsOf(len(g.Rows), 64), Work{}
		w.RunGroup(pool, model.Activation{}, g, sink)
		run := func() { w.RunGroup(pool, model.Activation{}, g, sink) }
		if n := testing.AllocsPerRun(20, run); n > 0 {
			t.Errorf("%v: %v allocations", q, n)
		}
	}
}

// Experts in MXFP4 are rearranged, of other checkpoints only quantised ones are rounded, and what is
// held counts as what it takes.
func TestRoundedStore(t *testing.T) {
	bf16 := testStore(t, "")
	for q, want := range map[Quant]Quant{
		QuantNone.Rounded(): QuantNone, QuantInt4.Rounded(): QuantInt4.Rounded(), QuantInt8: QuantInt8,
	} {
		if got := q.For(bf16.spec, bf16.ck); got != want {
			t.Errorf("%v comes to %v with BF16, want %v", q, got, want)
		}
	}
	const dir = "../testdata/golden/gptoss-32-experts"
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
	for _, q := range roundedQuants {
		if got := q.For(spec, ck); got != q {
			t.Errorf("%v comes to %v with MXFP4", q, got)
		}
		s := NewQuantizedStore(spec, ck, q)
		if err := s.Load(t.Context(), 0, NewSet(3), nil); err != nil {
			t.Fatal(err)
		}
		e, want := s.Expert(0, 3), int64(0)
		for _, m := range []kernels.Matrix{e.Gate, e.Up, e.Down} {
			if !m.Format.Interleaved() || m.Bias == nil {
				t.Fatalf("%v: a matrix in %v, with %d biases", q, m.Format, len(m.Bias))
			}
			want += int64(m.Format.MatrixBytes(m.Rows, m.Cols) + 2*len(m.Bias)) // stored in BF16
		}
		if s.Bytes() != want || q.ExpertBytes(spec, ck, 0) != want {
			t.Errorf("%v: %d bytes held, %d of an expert, want %d", q, s.Bytes(),
				q.ExpertBytes(spec, ck, 0), want)
		}
	}
}
