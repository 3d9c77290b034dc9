package forward

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/kernels"
)

// plainForm attends to a cache and normalises.
type plainForm struct{ cache *kvcache.Cache }

// page implements form.
func (f plainForm) page(u *unit, i, _ int) (keys, values kernels.Cached) {
	return f.cache.Page(u.seq, 0, u.kv, i)
}

// finish implements form.
func (plainForm) finish(_, _ int, st *kernels.Attn, sum []float32) { st.Normalize(sum) }

// sweepCase is attention with sequences of random keys and values.
type sweepCase struct {
	shape
	window int
	cache  *kvcache.Cache
	seqs   []*kvcache.Sequence
	rows   []Row
	q      []float32
}

// newSweepCase puts rows at the ends of sequences of the given lengths.
func newSweepCase(t testing.TB, rng *rand.Rand, s shape, window int, lengths, rows []int) *sweepCase {
	t.Helper()
	kvHeads := s.heads / s.group
	cache, err := kvcache.New(kvcache.Config{
		Windows: []int{0}, Keys: kvHeads * s.key, KeyHead: s.key, Values: kvHeads * s.value, ValueHead: s.value,
		Bytes: 64 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close() })
	c := &sweepCase{shape: s, window: window, cache: cache}
	for i, n := range lengths {
		seq := &kvcache.Sequence{}
		c.seqs = append(c.seqs, seq)
		if !cache.Grow(seq, 0, n) {
			t.Fatal("the cache is full")
		}
		for pos := range n {
			cache.Put(seq, 0, pos, noise(rng, kvHeads*s.key), noise(rng, kvHeads*s.value))
		}
		for pos := n - rows[i]; pos < n; pos++ {
			c.rows = append(c.rows, Row{Pos: pos, Seq: seq})
		}
	}
	c.q = noise(rng, len(c.rows)*s.heads*s.key)
	return c
}

func noise(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// run sweeps rows first to end-1, with memory for the sums of a number of
// queries, 0 for what newSweep takes.
func (c *sweepCase) run(threads, first, end, queries int) []float32 {
	pool := kernels.NewPool(threads)
	defer pool.Close()
	s := newSweep(c.shape, plainForm{c.cache}, len(c.rows), pool)
	if queries > 0 {
		s.sums = s.sums[:queries*c.value]
	}
	out := make([]float32, (end-first)*c.heads*c.value)
	s.run(c.rows[first:end], c.window, c.q[first*c.heads*c.key:end*c.heads*c.key], out)
	return out
}

// exact is the plain formula in float64.
func (c *sweepCase) exact(row, head int) []float64 {
	r := c.rows[row]
	q := c.q[(row*c.heads+head)*c.key:][:c.key]
	key, value := make([]float32, c.key), make([]float32, c.value)
	out, sum, first := make([]float64, c.value), 0.0, 0
	if c.window > 0 {
		first = max(0, r.Pos+1-c.window)
	}
	for pos := first; pos <= r.Pos; pos++ {
		keys, values := c.cache.Page(r.Seq, 0, head/c.group, pos/kvcache.PageTokens)
		keys.Decode(key, pos%kvcache.PageTokens)
		values.Decode(value, pos%kvcache.PageTokens)
		dot := 0.0
		for i := range q {
			dot += float64(q[i]) * float64(key[i])
		}
		p := math.Exp(dot * float64(c.scale))
		sum += p
		for i := range out {
			out[i] += p * float64(value[i])
		}
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

// A sweep computes attention, and the bits of a query are the same alone and in
// any company, on any number of threads, in any number of rounds.
func TestSweep(t *testing.T) {
	for _, c := range []struct {
		name          string
		s             shape
		window        int
		lengths, rows []int
	}{
		{"decode", shape{heads: 4, group: 2, pass: 2, tile: 8}, 0, []int{1, 31, 513, 1700}, []int{1, 1, 1, 1}},
		{"prefill", shape{heads: 4, group: 4, pass: 4, tile: 5}, 0, []int{60, 1100}, []int{60, 70}},
		{"a group in uneven passes", shape{heads: 10, group: 5, pass: 2, tile: 3}, 0, []int{600, 40}, []int{7, 2}},
		{"window", shape{heads: 2, group: 1, pass: 1, tile: 64}, 40, []int{1060, 33}, []int{60, 33}},
		{"window of one", shape{heads: 2, group: 2, pass: 2, tile: 3}, 1, []int{520}, []int{20}},
		{"window beyond a segment", shape{heads: 2, group: 2, pass: 2, tile: 16}, 700, []int{1500, 600}, []int{30, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.key, c.s.value, c.s.scale = 20, 12, .2
			sc := newSweepCase(t, rand.New(rand.NewPCG(1, 2)), c.s, c.window, c.lengths, c.rows)
			n, width := len(sc.rows), c.s.heads*c.s.value
			want := sc.run(1, 0, n, 0)
			for row := range n {
				for head := range c.s.heads {
					for i, v := range sc.exact(row, head) {
						if got := want[row*width+head*c.s.value+i]; math.Abs(float64(got)-v) > 2e-6 {
							t.Fatalf("row %d head %d: [%d] = %v, want %v", row, head, i, got, v)
						}
					}
				}
				sameBits(t, fmt.Sprintf("row %d alone", row), sc.run(2, row, row+1, 0), want[row*width:(row+1)*width])
			}
			least := c.s.pass * c.s.tile // what one part of the largest unit needs
			for _, queries := range []int{least, least + 1, 3 * least} {
				sameBits(t, fmt.Sprintf("with memory for %d queries", queries), sc.run(3, 0, n, queries), want)
			}
			sameBits(t, "a half", sc.run(2, n/2, n, 0), want[n/2*width:])
		})
	}
}

// A sweep takes no memory once it has been as long as this one.
func TestSweepAllocatesNothing(t *testing.T) {
	for _, key := range []int{64, 20} {
		s := shape{heads: 4, group: 4, key: key, value: key, pass: 4, tile: 5, scale: .2}
		c := newSweepCase(t, rand.New(rand.NewPCG(1, 2)), s, 0, []int{550, 33}, []int{70, 1})
		pool := kernels.NewPool(2)
		defer pool.Close()
		w := newSweep(s, plainForm{c.cache}, len(c.rows), pool)
		out := make([]float32, len(c.rows)*s.heads*s.value)
		if n := testing.AllocsPerRun(10, func() { w.run(c.rows, 0, c.q, out) }); n != 0 {
			t.Errorf("%v allocations, with heads of %d", n, key)
		}
	}
}
