package shard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// plain computes one expert by products of whole matrices, one after another.
func plain(pool *kernels.Pool, a model.Activation, e *Expert, x []float32, rows []uint32,
	g []float32) []float32 {
	n, width, hidden := len(rows), e.Gate.Rows, e.Gate.Cols
	in := make([]float32, n*hidden)
	for j, t := range rows {
		copy(in[j*hidden:(j+1)*hidden], x[int(t)*hidden:])
	}
	gate, up, y := make([]float32, n*width), make([]float32, n*width), make([]float32, n*hidden)
	pool.MatMul(gate, in, n, e.Gate)
	pool.MatMul(up, in, n, e.Up)
	Activate(a, gate, gate, up)
	pool.MatMul(y, gate, n, e.Down)
	for j, g := range g {
		row := y[j*hidden : (j+1)*hidden]
		for k := range row {
			row[k] *= g
		}
	}
	return y
}

// drawWeights returns a matrix of random weights.
func drawWeights(r *rand.Rand, f kernels.Format, rows, cols int) kernels.Matrix {
	values := make([]float32, rows*cols)
	for i := range values {
		values[i] = float32(r.NormFloat64())
	}
	m := kernels.Matrix{Format: f, Rows: rows, Cols: cols, Data: f32(values...)}
	switch f {
	case kernels.F32:
		return m
	case kernels.Q8, kernels.Q4:
		q := m
		m.Format, q.Data = kernels.F32, make([]byte, f.Bytes(rows*cols))
		kernels.Quantize(q, m, 0, rows, make([]float32, cols))
		return q
	}
	m.Data = m.Data[:f.Bytes(rows*cols)]
	for i := range m.Data {
		m.Data[i] = byte(r.Uint32()) & 0xbf // no infinity, no NaN
	}
	switch f {
	case kernels.E4M3:
		m.Scales = make([]float32, (rows+127)/128*((cols+127)/128))
		for i := range m.Scales {
			m.Scales[i] = r.Float32()
		}
	case kernels.MXFP4:
		m.Exponents = make([]byte, rows*cols/32)
		for i := range m.Exponents {
			m.Exponents[i] = 120 + byte(r.IntN(8))
		}
		m.Bias = values[:rows]
	}
	return m
}

func drawExpert(r *rand.Rand, f kernels.Format, hidden, width int) *Expert {
	return &Expert{
		Gate: drawWeights(r, f, width, hidden), Up: drawWeights(r, f, width, hidden),
		Down: drawWeights(r, f, hidden, width),
	}
}

// drawGroup asks each of the experts for some of the tokens, and some for none.
func drawGroup(r *rand.Rand, experts []*Expert, tokens, hidden int) Group {
	g := Group{Experts: experts, X: make([]float32, tokens*hidden)}
	for i := range g.X {
		g.X[i] = float32(r.NormFloat64())
	}
	for range experts {
		n := r.IntN(tokens + 1)
		rows := r.Perm(tokens)[:n]
		if r.IntN(2) == 0 {
			slices.Sort(rows)
		}
		for _, t := range rows {
			g.Rows, g.Weights = append(g.Rows, uint32(t)), append(g.Weights, r.Float32())
		}
		g.Counts = append(g.Counts, uint32(n))
	}
	return g
}

// rowsOf is a Sink that knows what it has been given.
type rowsOf struct {
	mu     sync.Mutex
	hidden int
	y      []float32
	times  []int
}

func newRowsOf(rows, hidden int) *rowsOf {
	return &rowsOf{hidden: hidden, y: make([]float32, rows*hidden), times: make([]int, rows*hidden)}
}

func (s *rowsOf) Put(row, from int, y []float32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := row*s.hidden + from
	copy(s.y[at:at+len(y)], y)
	for i := range y {
		s.times[at+i]++
	}
}

// mustBePlain runs a group and compares it with its experts alone.
func mustBePlain(t *testing.T, w *Work, pool *kernels.Pool, a model.Activation, g Group) {
	t.Helper()
	hidden := g.Experts[0].Down.Rows
	got := newRowsOf(len(g.Rows), hidden)
	w.RunGroup(pool, a, g, got)
	at := 0
	for i, e := range g.Experts {
		end := at + int(g.Counts[i])
		want := plain(pool, a, e, g.X, g.Rows[at:end], g.Weights[at:end])
		for k, v := range want {
			k := at*hidden + k
			if got.times[k] != 1 || math.Float32bits(got.y[k]) != math.Float32bits(v) {
				t.Fatalf("expert %d, number %d: %v, given %d times, want %v once", i, k, got.y[k],
					got.times[k], v)
			}
		}
		single := w.Run(pool, a, e, g.X, g.Rows[at:end], g.Weights[at:end])
		if !slices.Equal(single, want) {
			t.Fatalf("expert %d alone differs", i)
		}
		at = end
	}
}

// A group's outputs have the bits of each expert alone, whatever the tiles and threads.
func TestGroupIsItsExperts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	clamped := model.Activation{Alpha: 1.702, Limit: 7}
	for _, f := range []kernels.Format{
		kernels.F32, kernels.BF16, kernels.E4M3, kernels.MXFP4, kernels.Q8, kernels.Q4,
	} {
		for _, shape := range [][2]int{{32, 32}, {96, 160}, {2080, 64}, {64, 1056}} {
			hidden, width := shape[0], shape[1]
			experts := make([]*Expert, 1+r.IntN(9))
			for i := range experts {
				experts[i] = drawExpert(r, f, hidden, width)
			}
			var w Work
			for _, threads := range []int{1, 2, 3} {
				t.Run(fmt.Sprintf("%v/%dx%d/threads=%d", f, hidden, width, threads), func(t *testing.T) {
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

// gpt-oss's gate and up are rows of one tensor, by turns.
func TestGroupOfInterleavedRows(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const hidden, width = 64, 96
	both := drawWeights(r, kernels.BF16, 2*width, hidden)
	e := &Expert{Gate: both, Up: both, Down: drawWeights(r, kernels.BF16, hidden, width)}
	e.Gate.Rows, e.Gate.Stride = width, 2*2*hidden
	e.Up = e.Gate
	e.Up.Data = both.Data[2*hidden:]
	pool := kernels.NewPool(2)
	defer pool.Close()
	var w Work
	mustBePlain(t, &w, pool, model.Activation{}, drawGroup(r, []*Expert{e, e}, 5, hidden))
}

// What does not fit into the scratch memory goes by waves.
func TestGroupByWaves(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const hidden, width, tokens = 64, 32, maxWave / (64 + 32) * 3 / 4
	e := drawExpert(r, kernels.BF16, hidden, width)
	pool := kernels.NewPool(2)
	defer pool.Close()
	g := Group{Experts: []*Expert{e, e, e, e}, X: make([]float32, 2*tokens*hidden)}
	for i := range g.X {
		g.X[i] = float32(i%7) - 3
	}
	for _, n := range []int{tokens, tokens / 8, 2 * tokens, tokens / 9} {
		for i := range n {
			g.Rows, g.Weights = append(g.Rows, uint32(n-1-i)), append(g.Weights, 1/float32(1+i))
		}
		g.Counts = append(g.Counts, uint32(n))
	}
	var w Work
	mustBePlain(t, &w, pool, model.Activation{}, g)
	if most := 2 * tokens * (hidden + width); len(w.inputs)+len(w.middle) > most {
		t.Errorf("scratch memory of %d numbers", len(w.inputs)+len(w.middle))
	}
}

// A group allocates nothing once the memory is there.
func TestGroupAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	experts := []*Expert{drawExpert(r, kernels.BF16, 64, 96), drawExpert(r, kernels.BF16, 64, 96)}
	pool := kernels.NewPool(2)
	defer pool.Close()
	g := drawGroup(r, experts, 60, 64)
	sink := newRowsOf(len(g.Rows), 64)
	var w Work
	run := func() {
		w.RunGroup(pool, model.Activation{}, g, sink)
		w.Run(pool, model.Activation{}, experts[0], g.X, g.Rows[:1], g.Weights[:1])
	}
	run()
	if n := testing.AllocsPerRun(20, run); n != 0 {
		t.Errorf("a group allocates %v times", n)
	}
}
