package kernels

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// counts records how often each item ran and whether a thread ran two at once.
type counts struct {
	items []atomic.Int32
	busy  []atomic.Bool
	twice atomic.Bool
}

func (c *counts) Do(item, thread int) {
	if c.busy[thread].Swap(true) {
		c.twice.Store(true)
	}
	c.items[item].Add(1)
	c.busy[thread].Store(false)
}

func TestPoolRunsEveryItemOnce(t *testing.T) {
	for _, threads := range []int{0, 1, 2, 3, 8} {
		pool := NewPool(threads)
		if pool.Threads() != max(threads, 1) {
			t.Errorf("Threads() = %d of %d", pool.Threads(), threads)
		}
		for round := range 3000 {
			items := round % 37
			c := counts{items: make([]atomic.Int32, items), busy: make([]atomic.Bool, pool.Threads())}
			pool.Run(items, &c)
			for i := range c.items {
				if n := c.items[i].Load(); n != 1 {
					t.Fatalf("%d threads: item %d of %d ran %d times", threads, i, items, n)
				}
			}
			if c.twice.Load() {
				t.Fatalf("%d threads: a thread ran two items at once", threads)
			}
			if round%500 == 0 { // let the goroutines park
				for range 100 {
					runtime.Gosched()
				}
			}
		}
		pool.Close()
		pool.Close()
	}
}

// meet is a job whose two items wait for each other, so that it ends only on two threads.
type meet struct{ here atomic.Int32 }

func (m *meet) Do(_, _ int) {
	m.here.Add(1)
	for m.here.Load() < 2 {
		runtime.Gosched()
	}
}

func TestPoolIsConcurrent(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	for range 200 {
		pool.Run(2, new(meet))
	}
}

type nothing struct{}

func (nothing) Do(_, _ int) {}

func BenchmarkPoolRun(b *testing.B) {
	pool := NewPool(2)
	defer pool.Close()
	b.ReportAllocs()
	for b.Loop() {
		pool.Run(4, nothing{})
	}
}
