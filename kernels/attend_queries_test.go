package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

var cachedFormats = []Format{F32, BF16, I8}

// attendCase is the operands of AttendQueries.
type attendCase struct {
	states       []Attn
	acc, q       []float32
	keys, values Cached
	n            int
	scale        float32
}

func (c attendCase) queries() int { return len(c.states) }

// drawAttend draws running attention of some queries and a page.
func drawAttend(r *rand.Rand, f Format, queries, d, dv, n int, kind func(*rand.Rand) float32) attendCase {
	c := attendCase{
		states: make([]Attn, queries), acc: draw(r, queries*dv, kind), q: draw(r, queries*d, kind), n: n,
		keys: drawCached(r, f, n, d, r.IntN(5), kind), values: drawCached(r, f, n, dv, r.IntN(5), kind),
		scale: 0.25,
	}
	for t := range c.states {
		if r.IntN(4) > 0 {
			c.states[t] = Attn{Max: tame(r), Sum: 1 + r.Float32()}
		}
	}
	return c
}

// run attends with a copy of the states and sums, which it returns, and as much scratch as told.
func (c attendCase) run(scratch int) ([]Attn, []float32) {
	states, acc := slices.Clone(c.states), slices.Clone(c.acc)
	AttendQueries(states, acc, c.q, c.keys, c.values, c.n, c.scale, make([]float32, scratch))
	return states, acc
}

// query is the case of query t alone.
func (c attendCase) query(t int) attendCase {
	d, dv := len(c.q)/c.queries(), len(c.acc)/c.queries()
	c.q, c.acc, c.states = c.q[t*d:(t+1)*d], c.acc[t*dv:(t+1)*dv], c.states[t:t+1]
	return c
}

// define computes one query by the definition, from the package's scalar functions.
func (c attendCase) define() (Attn, []float32) {
	st, acc := c.states[0], slices.Clone(c.acc)
	if st.Sum == 0 {
		st.Max = float32(math.Inf(-1))
		clear(acc)
	}
	key, value := make([]float32, len(c.q)), make([]float32, len(acc))
	scores, highest := make([]float32, c.n), st.Max
	for j := range scores {
		c.keys.stored(key, j, 0)
		s := dotGeneric(c.q, key)
		if c.keys.Format == I8 {
			s *= c.keys.Scales[j*c.keys.ScaleStride]
		}
		scores[j] = s * c.scale
		if scores[j] > highest {
			highest = scores[j]
		}
	}
	if highest == 0 {
		highest = 0 // not -0
	}
	if st.Sum != 0 && highest != st.Max {
		rescale := Exp(st.Max - highest)
		st.Sum *= rescale
		for i := range acc {
			acc[i] *= rescale
		}
	}
	st.Max = highest
	for j, s := range scores {
		p := Exp(s - highest)
		st.Sum += p
		if c.values.Format == I8 {
			p *= c.values.Scales[j*c.values.ScaleStride]
		}
		c.values.stored(value, j, 0)
		for i, v := range value {
			acc[i] = fma32(p, v, acc[i])
		}
	}
	return st, acc
}

func sameAttn(a, b Attn, x, y []float32) error {
	if !sameBits(a.Max, b.Max) || !sameBits(a.Sum, b.Sum) {
		return fmt.Errorf("state %x %x, want %x %x", a.Max, a.Sum, b.Max, b.Sum)
	}
	for i := range y {
		if !sameBits(x[i], y[i]) {
			return fmt.Errorf("sum [%d] = %x, want %x", i, x[i], y[i])
		}
	}
	return nil
}

// TestAttendQueriesBits compares each query of a call, on all paths, with the definition: neither
// the path nor the number of queries shows.
func TestAttendQueriesBits(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 42))
	widths := []int{16, 32, 64, 96, 128, 192, 576}
	cases := 1500
	if testing.Short() {
		cases = 300
	}
	for i := range cases {
		d, dv := 1+r.IntN(150), 1+r.IntN(150)
		if i%2 == 0 {
			d, dv = widths[r.IntN(len(widths))], widths[r.IntN(len(widths))]
		}
		f, queries, n := cachedFormats[i%3], 1+r.IntN(9), 1+r.IntN(12)
		if i%10 == 0 {
			queries, n = 16+r.IntN(20), 1+r.IntN(40)
		}
		c := drawAttend(r, f, queries, d, dv, n, kinds[r.IntN(len(kinds))])
		if i%7 == 0 && dv <= d {
			c.values = c.keys
		}
		c.compare(t, queries*n+r.IntN(2)*widened)
	}
	// Beyond what the assembly and its scratch were made for.
	for _, f := range cachedFormats {
		for _, size := range [][4]int{{2, 1041, 9, 3}, {17, 1600, 1600, 5}, {17, 16, 16, 300}} {
			queries, d, dv, n := size[0], size[1], size[2], size[3]
			drawAttend(r, f, queries, d, dv, n, tame).compare(t, AttendScratch(queries, n))
		}
	}
}

// compare compares each query of a case, on all paths, with its definition.
func (c attendCase) compare(t *testing.T, scratch int) {
	t.Helper()
	d, dv := len(c.q)/c.queries(), len(c.acc)/c.queries()
	want, wantAcc := make([]Attn, c.queries()), make([][]float32, c.queries())
	for q := range want {
		want[q], wantAcc[q] = c.query(q).define()
	}
	onPaths(func(path string) {
		states, acc := c.run(scratch)
		for q := range states {
			if err := sameAttn(states[q], want[q], acc[q*dv:(q+1)*dv], wantAcc[q]); err != nil {
				t.Fatalf("%s %v: query %d of %d, widths %d and %d, %d positions: %v", path, c.keys.Format, q,
					c.queries(), d, dv, c.n, err)
			}
		}
	})
}

// TestAttendQueriesFormula compares attention over several pages with the formula in float64.
func TestAttendQueriesFormula(t *testing.T) {
	r := rand.New(rand.NewPCG(45, 46))
	const queries, positions = 5, 75
	for _, f := range cachedFormats {
		for _, widths := range [][2]int{{1, 1}, {40, 24}, {64, 64}, {96, 96}, {128, 128}, {192, 128}, {576, 512}} {
			d, dv := widths[0], widths[1]
			keys, values := encoded(r, f, positions, d), encoded(r, f, positions, dv)
			q, scale := draw(r, queries*d, tame), float32(1/math.Sqrt(float64(d)))
			onPaths(func(path string) {
				states, acc := make([]Attn, queries), draw(r, queries*dv, wild)
				scores := make([]float32, AttendScratch(queries, 32))
				for from := 0; from < positions; from += 32 {
					n := min(32, positions-from)
					AttendQueries(states, acc, q, keys.From(from), values.From(from), n, scale, scores)
				}
				width := max(d, dv)
				k, v := make([]float32, positions*width), make([]float32, positions*width)
				for j := range positions {
					keys.Decode(k[j*width:][:d], j)
					values.Decode(v[j*width:][:dv], j)
				}
				for i := range states {
					out := acc[i*dv : (i+1)*dv]
					states[i].Normalize(out)
					want := attention(q[i*d:(i+1)*d], k, v, width, positions, float64(scale))
					for c := range out {
						if math.Abs(float64(out[c])-want[c]) > 3e-6 {
							t.Fatalf("%s %v %v: [%d] = %v, want %v", path, f, widths, c, out[c], want[c])
						}
					}
				}
			})
		}
	}
}

// encoded draws positions and encodes them.
func encoded(r *rand.Rand, f Format, positions, width int) Cached {
	c := Cached{Format: f, Stride: f.Bytes(width), ScaleStride: 1, Scales: make([]float32, positions)}
	c.Data = make([]byte, positions*c.Stride)
	for j := range positions {
		c.Scales[j] = EncodeCached(c.Data[j*c.Stride:(j+1)*c.Stride], draw(r, width, tame), f)
	}
	return c
}

func TestAttentionDoesNotAllocate(t *testing.T) {
	r := rand.New(rand.NewPCG(43, 44))
	for _, f := range cachedFormats {
		for _, size := range [][4]int{{1, 128, 128, 32}, {17, 128, 128, 32}, {3, 128, 64, 1}, {2, 100, 75, 9}} {
			queries, d, dv, n := size[0], size[1], size[2], size[3]
			c := drawAttend(r, f, queries, d, dv, n, tame)
			scores, later := make([]float32, AttendScratch(queries, n)), Attn{Max: 1, Sum: 1}
			onPaths(func(path string) {
				got := testing.AllocsPerRun(20, func() {
					AttendQueries(c.states, c.acc, c.q, c.keys, c.values, n, c.scale, scores)
					c.states[0].Merge(c.acc[:dv], later, c.q[:dv])
				})
				if got != 0 {
					t.Errorf("%s %v: %d queries of width %d by %d positions allocate %v times", path, f,
						queries, d, n, got)
				}
			})
		}
	}
}

func TestAttendQueriesNothing(t *testing.T) {
	AttendQueries(nil, nil, nil, Cached{}, Cached{}, 3, 1, nil)
	states, acc := make([]Attn, 1), []float32{1, 2}
	AttendQueries(states, acc, []float32{1, 2}, Cached{}, Cached{}, 0, 1, nil)
	if states[0].Sum != 0 || acc[0] != 0 {
		t.Errorf("after no positions: %v %v", states, acc)
	}
	onPaths(func(path string) { // a NaN must not vanish in an integer format
		x := []float32{1, float32(math.NaN())}
		c := Cached{Format: I8, Data: make([]byte, 2), Stride: 2, Scales: make([]float32, 1)}
		c.Scales[0] = EncodeCached(c.Data, x, I8)
		AttendQueries(states, acc, []float32{1, 2}, c, c, 1, 1, make([]float32, 1))
		if acc[0] == acc[0] || states[0].Sum == states[0].Sum {
			t.Errorf("%s: attention to NaN is %v, sum %v", path, acc, states[0].Sum)
		}
	})
}

func TestAttendQueriesRefuses(t *testing.T) {
	good := func() attendCase {
		return drawAttend(rand.New(rand.NewPCG(1, 2)), I8, 2, 16, 16, 4, tame)
	}
	good().run(8)
	for name, spoil := range map[string]func(c *attendCase) (scratch int){
		"few scores":        func(*attendCase) int { return 7 },
		"q":                 func(c *attendCase) int { c.q = c.q[1:]; return 8 },
		"sums":              func(c *attendCase) int { c.acc = c.acc[1:]; return 8 },
		"negative n":        func(c *attendCase) int { c.n = -1; return 8 },
		"short keys":        func(c *attendCase) int { c.keys.Data = c.keys.Data[1:]; return 8 },
		"short values":      func(c *attendCase) int { c.values.Data = c.values.Data[1:]; return 8 },
		"few scales":        func(c *attendCase) int { c.keys.Scales = c.keys.Scales[:3]; return 8 },
		"negative stride":   func(c *attendCase) int { c.keys.Stride = -1; return 8 },
		"a weight's format": func(c *attendCase) int { c.values.Format = E4M3; return 8 },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was taken")
				}
			}()
			c := good()
			c.run(spoil(&c))
		})
	}
}

// TestMerge cuts the positions of one query into parts, attends to each alone, and merges.
func TestMerge(t *testing.T) {
	r := rand.New(rand.NewPCG(47, 48))
	const d, positions = 64, 90
	for range 20 {
		keys, values, q := encoded(r, BF16, positions, d), encoded(r, BF16, positions, d), draw(r, d, tame)
		k, v := make([]float32, positions*d), make([]float32, positions*d)
		for j := range positions {
			keys.Decode(k[j*d:(j+1)*d], j)
			values.Decode(v[j*d:(j+1)*d], j)
		}
		want := attention(q, k, v, d, positions, 1)
		var results [][]float32
		onPaths(func(path string) {
			var total Attn
			sum := draw(r, d, wild)
			for from := 0; from < positions; from += 30 {
				part, acc := make([]Attn, 1), make([]float32, d)
				AttendQueries(part, acc, q, keys.From(from), values.From(from), 30, 1, make([]float32, 30))
				total.Merge(sum, part[0], acc)
				total.Merge(sum, Attn{}, draw(r, d, wild)) // no positions
			}
			results = append(results, append(slices.Clone(sum), total.Max, total.Sum))
			total.Normalize(sum)
			for i := range sum {
				if math.Abs(float64(sum[i])-want[i]) > 3e-6 {
					t.Fatalf("%s: [%d] = %v, want %v", path, i, sum[i], want[i])
				}
			}
		})
		if !slices.Equal(results[0], results[len(results)-1]) {
			t.Fatal("the paths differ")
		}
	}
	var none Attn
	acc := []float32{float32(math.NaN())}
	if none.Merge(acc, Attn{}, []float32{1}); none.Sum != 0 || acc[0] != 0 {
		t.Errorf("nothing merged with nothing is %v, %v", none, acc)
	}
}
