package bench

import (
	"fmt"

	"github.com/conclave-serve/conclave/kernels"
)

// kernelCase is a kernel on a shape, and its turn.
type kernelCase struct {
	turn
	result Result
	limit  *limit
}

// against sets the ceiling. If that is memory, reading takes turns with the case: how fast memory
// is changes from moment to moment on a machine that others use, too.
func (c *kernelCase) against(l *limit) {
	c.limit, c.beside = l, nil
	if c.result.bound(l.ceiling()); c.result.ReadBound {
		c.beside = &l.read
	}
}

// finish fills in what was measured.
func (c *kernelCase) finish() {
	r := &c.result
	r.Seconds, r.Noise, r.Runs = c.best(), c.noise(), len(c.times)*c.repeat
	r.BytesPerSecond, r.Flops = r.Bytes/r.Seconds, r.Operations/r.Seconds
	r.bound(c.limit.ceiling())
	r.Ratio = r.Flops / r.Bound
	if c.beside != nil {
		r.Ratio = r.Bytes / c.limit.bytes * quantile(c.ratios, 0.5)
	}
}

func weightFormats() []kernels.Format {
	return []kernels.Format{
		kernels.F32, kernels.BF16, kernels.F16, kernels.E4M3, kernels.MXFP4, kernels.Q8, kernels.Q4,
		kernels.Q8x16, kernels.Q4x16, kernels.MXFP4x16, // with activations in int8
	}
}

// products lists matrix products: rows of activations × weights that come from memory.
func products(a *arena, s Shape, rowCounts []int, pools []*kernels.Pool) []*kernelCase {
	var cases []*kernelCase
	parts := []struct {
		name       string
		rows, cols int
	}{{"expert up", s.Width, s.Hidden}, {"expert down", s.Hidden, s.Width}}
	most := rowCounts[len(rowCounts)-1]
	side := max(s.Hidden, s.Width)
	x, dst := ones(most*side), make([]float32, most*side)
	for _, f := range weightFormats() {
		for _, p := range parts {
			if f == kernels.MXFP4 && p.cols%32 != 0 {
				continue // MXFP4 has no such matrices
			}
			for _, n := range rowCounts {
				for _, pool := range pools {
					cases = append(cases, product(a, f, p.rows, p.cols, n, pool, x, dst))
					cases[len(cases)-1].result.Part = p.name
				}
			}
		}
	}
	return cases
}

// weights is a matrix whose bytes are taken from an arena, anew for each run.
type weights struct {
	kernels.Matrix
	size, exponents int // in bytes
}

func newWeights(f kernels.Format, rows, cols int) *weights {
	w := &weights{Matrix: kernels.Matrix{Format: f, Rows: rows, Cols: cols}}
	w.size = f.MatrixBytes(rows, cols)
	switch f {
	case kernels.E4M3:
		w.Scales = ones((rows + 127) / 128 * ((cols + 127) / 128))
	case kernels.MXFP4:
		w.exponents = rows * cols / 32
	}
	return w
}

func (w *weights) bytes() float64 { return float64(w.size + 4*len(w.Scales) + w.exponents) }

func (w *weights) take(a *arena) kernels.Matrix {
	w.Data = a.take(w.size)
	if w.exponents > 0 {
		w.Exponents = a.take(w.exponents)
	}
	return w.Matrix
}

// product is one of n rows with a matrix [rows, cols].
func product(
	a *arena, f kernels.Format, rows, cols, n int, pool *kernels.Pool, x, dst []float32,
) *kernelCase {
	w := newWeights(f, rows, cols)
	c := &kernelCase{result: Result{
		Kernel: "matmul", Format: f.String(), Shape: fmt.Sprintf("%d×%d", rows, cols), Rows: n,
		Threads:    pool.Threads(),
		Operations: 2 * float64(rows) * float64(cols) * float64(n),
		Bytes:      w.bytes(),
	}}
	c.run = func() { pool.MatMul(dst, x, n, w.take(a)) }
	return c
}

// attendContext is how many positions attention goes over, and pagePositions how many at a time.
const (
	attendContext = 4096
	pagePositions = 32
)

// attentions lists attention of one token, and of a prompt's, over pages that come from memory.
func attentions(a *arena, s Shape, pools []*kernels.Pool) []*kernelCase {
	var cases []*kernelCase
	kinds := []struct {
		part    string
		queries int
	}{{"decode", s.Queries}, {"prompt of 64", 64 * s.Queries}}
	for _, f := range []kernels.Format{kernels.F32, kernels.BF16, kernels.I8} {
		for _, k := range kinds {
			if k.queries > maxQueries {
				continue // a latent model's prompt takes the expanded form
			}
			for _, pool := range pools {
				cases = append(cases, attention(a, s, f, k.queries, pool))
				cases[len(cases)-1].result.Part = k.part
			}
		}
	}
	return cases
}

// maxQueries is how many queries share a pass over a page at most.
const maxQueries = 1024

// attention is that of queries on every thread of a pool, each thread over pages of its own.
func attention(
	a *arena, s Shape, f kernels.Format, queries int, pool *kernels.Pool,
) *kernelCase {
	width := s.Keys
	if !s.Latent {
		width += s.Values
	}
	threads, pages := pool.Threads(), attendContext/pagePositions
	job := &attendJob{shape: s, format: f, pages: pages, size: pagePositions * f.Bytes(width)}
	job.q = make([]float32, queries*s.Keys)
	for i := range job.q {
		job.q[i] = 0.01
	}
	for range threads {
		job.states = append(job.states, make([]kernels.Attn, queries))
		job.acc = append(job.acc, make([]float32, queries*s.Values))
		job.scores = append(job.scores,
			make([]float32, kernels.AttendScratch(queries, pagePositions)))
	}
	job.scales = ones(pagePositions)
	c := &kernelCase{result: Result{
		Kernel: "attention", Format: f.String(), Rows: queries, Threads: threads,
		Shape:      fmt.Sprintf("%d of %d+%d", attendContext, s.Keys, width-s.Keys),
		Operations: 2 * float64(threads*queries*attendContext) * float64(s.Keys+s.Values),
		Bytes:      float64(threads * pages * job.size),
	}}
	c.run = func() {
		job.data = a.take(threads * pages * job.size)
		pool.Run(threads, job)
	}
	return c
}

// attendJob is attention on several threads.
type attendJob struct {
	shape  Shape
	format kernels.Format
	pages  int
	size   int // of a page, in bytes
	data   []byte
	q      []float32
	scales []float32
	states [][]kernels.Attn
	acc    [][]float32
	scores [][]float32
}

// Do implements kernels.Job.
func (j *attendJob) Do(item, _ int) {
	clear(j.states[item])
	for i := range j.pages {
		page := j.data[(item*j.pages+i)*j.size:][:j.size]
		keys := kernels.Cached{
			Format: j.format, Data: page, Stride: j.format.Bytes(j.shape.Keys),
			Scales: j.scales, ScaleStride: 1,
		}
		values := keys
		if !j.shape.Latent {
			values.Data = page[pagePositions*keys.Stride:]
			values.Stride = j.format.Bytes(j.shape.Values)
		}
		kernels.AttendQueries(j.states[item], j.acc[item], j.q, keys, values, pagePositions, 0.1,
			j.scores[item])
	}
}

// rowKernels lists what runs on one row at a time, which caches hold. An exponential counts as one
// operation, whatever it takes.
func rowKernels(s Shape) []*kernelCase {
	n := s.Hidden
	x, y, dst := ones(n), ones(n), make([]float32, n)
	one := func(name string, operations, floats int, run func()) *kernelCase {
		return &kernelCase{turn: turn{run: run}, result: Result{
			Kernel: name, Part: "row", Format: kernels.F32.String(), Shape: fmt.Sprint(n), Rows: 1,
			Threads: 1, Operations: float64(operations * n), Bytes: float64(4 * floats * n),
			Cached: true,
		}}
	}
	return []*kernelCase{
		one("rmsnorm", 4, 3, func() { kernels.RMSNorm(dst, x, y, 1e-6) }),
		one("swiglu", 5, 3, func() { kernels.SwiGLU(dst, x, y) }),
		one("softmax", 4, 2, func() { kernels.Softmax(dst) }),
	}
}

func ones(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	return x
}
