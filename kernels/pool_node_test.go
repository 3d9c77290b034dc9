package kernels

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
)

// nodesOf deals threads to nodes in turn.
func nodesOf(threads, nodes int) []int {
	list := make([]int, threads)
	for i := range list {
		list[i] = i % nodes
	}
	return list
}

func TestPoolOfNodesRunsEveryItemOnce(t *testing.T) {
	for _, nodes := range []int{1, 2, 4} {
		for _, threads := range []int{nodes, 8} {
			pool := NewPoolWith(PoolConfig{Threads: threads, Nodes: nodesOf(threads, nodes)})
			for round := range 2000 {
				items := round % 37
				c := counts{items: make([]atomic.Int32, items), busy: make([]atomic.Bool, threads)}
				if round%2 == 0 {
					pool.Run(items, &c)
				} else {
					pool.Run(items, &segmented{counts: &c, ends: []int{items / 3, items / 3, items}})
				}
				for i := range c.items {
					if n := c.items[i].Load(); n != 1 {
						t.Fatalf("%d nodes: item %d of %d ran %d times", nodes, i, items, n)
					}
				}
				if c.twice.Load() {
					t.Fatalf("%d nodes: a thread ran two items at once", nodes)
				}
			}
			pool.Close()
		}
	}
}

// segmented is counts of several matrices' rows.
type segmented struct {
	*counts
	ends []int
}

func (s *segmented) Segments() int       { return len(s.ends) }
func (s *segmented) End(segment int) int { return s.ends[segment] }

// order records items of a pool whose other threads never come.
type order struct {
	items []int
	ends  []int
}

func (o *order) Do(item, _ int)      { o.items = append(o.items, item) }
func (o *order) Segments() int       { return len(o.ends) }
func (o *order) End(segment int) int { return o.ends[segment] }

func TestOwnNodeFirst(t *testing.T) {
	for _, c := range []struct {
		home int
		ends []int
		want []int
	}{
		{0, []int{8}, []int{0, 1, 2, 3, 4, 5, 6, 7}},
		{1, []int{8}, []int{4, 5, 6, 7, 0, 1, 2, 3}},
		{0, []int{4, 4, 8}, []int{0, 1, 4, 5, 2, 3, 6, 7}},
		{1, []int{4, 8}, []int{2, 3, 6, 7, 0, 1, 4, 5}},
		{1, []int{1, 4}, []int{0, 2, 3, 1}},
	} {
		pool := &Pool{threads: 1, homes: []int{c.home}, nodes: make([]node, 2)}
		o := &order{ends: c.ends}
		pool.job, pool.items = o, int64(c.ends[len(c.ends)-1])
		pool.deal()
		pool.work(0)
		if !slices.Equal(o.items, c.want) {
			t.Errorf("node %d of segments that end at %v: %v, want %v", c.home, c.ends, o.items, c.want)
		}
	}
}

func TestMatMulHasTheSameBitsOnNodes(t *testing.T) {
	const rows, cols, tokens = 301, 128, 3
	x, data := make([]float32, tokens*cols), make([]byte, 2*rows*cols)
	for i := range x {
		x[i] = float32(i%17) - 8.3
	}
	for i := range data {
		data[i] = byte(i*7%61) + byte(i%2)
	}
	w := Matrix{Format: BF16, Rows: rows, Cols: cols, Data: data}
	want := make([]float32, tokens*rows)
	Mul(want, x, tokens, w)
	for _, threads := range []int{1, 2, 3, 8} {
		for _, nodes := range []int{1, 2} {
			pool := NewPoolWith(PoolConfig{Threads: threads, Nodes: nodesOf(threads, nodes)})
			got := make([]float32, len(want))
			pool.MatMul(got, x, tokens, w)
			if !slices.Equal(got, want) {
				t.Errorf("%d threads on %d nodes: other bits", threads, nodes)
			}
			pool.Close()
		}
	}
}

func TestRunNeitherAllocatesNorStartsGoroutines(t *testing.T) {
	var bound atomic.Int32
	pool := NewPoolWith(PoolConfig{
		Threads: 3, Nodes: nodesOf(3, 2), Bind: func(int) { bound.Add(1) },
	})
	c := &counts{items: make([]atomic.Int32, 16), busy: make([]atomic.Bool, 3)}
	pool.Run(16, c)
	before := runtime.NumGoroutine()
	if n := testing.AllocsPerRun(200, func() { pool.Run(16, c) }); n != 0 {
		t.Errorf("%g allocations in a job", n)
	}
	if after := runtime.NumGoroutine(); after != before {
		t.Errorf("%d goroutines, then %d", before, after)
	}
	pool.Close()
	if bound.Load() != 2 {
		t.Errorf("%d threads were bound, want all but the caller", bound.Load())
	}
}
