package bench

import (
	"fmt"

	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// waves lists what a worker does: all experts of a token of one layer at once, whose weights come
// from memory. With more rows than one, experts have different handfuls of them. Experts that are
// more than the arena are left out.
func waves(a *arena, s Shape, rowCounts []int, pools []*kernels.Pool) []*kernelCase {
	var cases []*kernelCase
	for _, f := range weightFormats() {
		if f == kernels.MXFP4 && (s.Hidden%32 != 0 || s.Width%32 != 0) {
			continue // MXFP4 has no such matrices
		}
		for _, n := range rowCounts {
			for _, pool := range pools {
				if c := wave(a, s, f, n, pool); int(c.result.Bytes) <= len(a.data) {
					cases = append(cases, c)
				}
			}
		}
	}
	return cases
}

// wave is one of n rows for each expert, on the mean.
func wave(a *arena, s Shape, f kernels.Format, n int, pool *kernels.Pool) *kernelCase {
	j := &waveRun{pool: pool}
	j.X = ones(2 * n * s.Hidden)
	if f == kernels.MXFP4 { // the arena's exponents would let middles and outputs underflow
		for i := range j.X {
			j.X[i] = 0x1p66
		}
	}
	bytes := 0.0
	for i := range s.TopK {
		e := [3]*weights{newWeights(f, s.Width, s.Hidden), newWeights(f, s.Width, s.Hidden),
			newWeights(f, s.Hidden, s.Width)}
		j.weights, j.Experts = append(j.weights, e), append(j.Experts, new(shard.Expert))
		for _, w := range e {
			bytes += w.bytes()
		}
		count := handful(i, s.TopK, n)
		j.Counts = append(j.Counts, uint32(count))
		for row := range count {
			j.Rows, j.Weights = append(j.Rows, uint32(row)), append(j.Weights, 1)
		}
	}
	c := &kernelCase{result: Result{
		Kernel: "experts", Part: "wave", Format: f.String(),
		Shape: fmt.Sprintf("%d of %d×%d", s.TopK, s.Width, s.Hidden), Rows: n,
		Threads:    pool.Threads(),
		Operations: 2 * 3 * float64(len(j.Rows)) * float64(s.Width) * float64(s.Hidden),
		Bytes:      bytes,
	}}
	c.run = func() { j.run(a) }
	return c
}

// handful is how many rows expert i of so many has where n is the mean: half as many for the first,
// half as many again for the last.
func handful(i, experts, n int) int {
	if experts < 2 {
		return n
	}
	return n - n/2 + 2*(n/2)*i/(experts-1)
}

// waveRun is a group, and what computes it.
type waveRun struct {
	shard.Group
	weights [][3]*weights
	work    shard.Work
	pool    *kernels.Pool
}

func (j *waveRun) run(a *arena) {
	for i, e := range j.weights {
		x := j.Experts[i]
		x.Gate, x.Up, x.Down = e[0].take(a), e[1].take(a), e[2].take(a)
	}
	j.work.RunGroup(j.pool, model.Activation{}, j.Group, nowhere{})
}

// nowhere takes outputs and forgets them.
type nowhere struct{}

func (nowhere) Put(int, int, []float32) {}
