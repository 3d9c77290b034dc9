package kernels

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// The positions of a page, and the bytes of keys and values that a benchmark walks over: more than
// most caches hold.
const (
	benchPage  = 32
	benchBytes = 256 << 20
)

// attendShape is the queries that share keys and values, and the sizes of those.
type attendShape struct {
	name           string
	queries, d, dv int
	latent         bool // values are the beginning of the keys
}

// benchCache is pages [positions, d] of keys, then values, one after the other.
type benchCache struct {
	shape attendShape
	f     Format
	data  []byte
	pages int
}

func newBenchCache(shape attendShape, f Format) *benchCache {
	c := &benchCache{shape: shape, f: f}
	c.pages = benchBytes / c.pageBytes()
	c.data = make([]byte, c.pages*c.pageBytes())
	r := rand.New(rand.NewPCG(1, 2))
	some := drawCached(r, f, benchPage, shape.d+shape.dv, 0, tame).Data
	for from := 0; from < len(c.data); from += len(some) {
		copy(c.data[from:], some)
	}
	return c
}

// pageBytes is the bytes of a page, scales not counted.
func (c *benchCache) pageBytes() int {
	width := c.shape.d
	if !c.shape.latent {
		width += c.shape.dv
	}
	return benchPage * c.f.Bytes(width)
}

// page returns the keys and values of a page, in order of memory and again from the start.
func (c *benchCache) page(i int, scales []float32) (keys, values Cached) {
	size := c.pageBytes()
	from := i % c.pages * size
	data := c.data[from : from+size]
	keys = Cached{Format: c.f, Data: data, Stride: c.f.Bytes(c.shape.d), Scales: scales, ScaleStride: 1}
	values = keys
	if !c.shape.latent {
		values.Data, values.Stride = data[benchPage*keys.Stride:], c.f.Bytes(c.shape.dv)
	}
	return keys, values
}

// attendJob is threads that attend, each to its own context.
type attendJob struct {
	cache  *benchCache
	pages  int // of a context
	first  int
	q      []float32
	scales []float32
	states [][]Attn
	acc    [][]float32
	scores [][]float32
}

func (j *attendJob) Do(item, _ int) {
	clear(j.states[item])
	for i := range j.pages {
		keys, values := j.cache.page(j.first+item*j.cache.pages/2+i, j.scales)
		AttendQueries(j.states[item], j.acc[item], j.q, keys, values, benchPage, 0.088, j.scores[item])
	}
	for t := range j.states[item] {
		dv := j.cache.shape.dv
		j.states[item][t].Normalize(j.acc[item][t*dv : (t+1)*dv])
	}
}

// BenchmarkAttendQueries streams keys and values from memory. Beside the means it reports the best
// iteration, which other work on the processors disturbs least: "of-read" is its bytes per second as
// a part of what reading the same memory and doing nothing else reaches, also at best and just
// before, on as many threads. With many queries the operations count.
func BenchmarkAttendQueries(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	shapes := []attendShape{
		{name: "gqa1", queries: 1, d: 128, dv: 128}, {name: "gqa4", queries: 4, d: 128, dv: 128},
		{name: "gqa8", queries: 8, d: 128, dv: 128}, {name: "gqa8of64", queries: 8, d: 64, dv: 64},
		{name: "gqa16", queries: 16, d: 128, dv: 128},
		{name: "latent16", queries: 16, d: 576, dv: 512, latent: true},
		{name: "latent128", queries: 128, d: 576, dv: 512, latent: true},
		{name: "chunk", queries: 8 * 64, d: 128, dv: 128}, // 64 rows of a prompt
		{name: "expanded", queries: 64, d: 192, dv: 128},
	}
	for _, shape := range shapes {
		for _, f := range []Format{F32, BF16, I8} {
			cache := newBenchCache(shape, f)
			for _, context := range []int{1 << 10, 8 << 10, 32 << 10} {
				if shape.queries > 16 && context > 1<<10 {
					continue
				}
				for _, threads := range []int{1, 2} {
					name := fmt.Sprintf("%s/%v/context=%d/threads=%d", shape.name, f, context, threads)
					b.Run(name, func(b *testing.B) {
						benchmarkAttend(b, r, cache, context, threads)
					})
				}
			}
		}
	}
}

func benchmarkAttend(b *testing.B, r *rand.Rand, cache *benchCache, context, threads int) {
	shape := cache.shape
	pool := NewPool(threads)
	defer pool.Close()
	job := &attendJob{cache: cache, pages: context / benchPage, q: draw(r, shape.queries*shape.d, tame)}
	for range threads {
		job.states = append(job.states, make([]Attn, shape.queries))
		job.acc = append(job.acc, make([]float32, shape.queries*shape.dv))
		job.scores = append(job.scores, make([]float32, AttendScratch(shape.queries, benchPage)))
	}
	for range benchPage {
		job.scales = append(job.scales, 0.01)
	}
	read := readRate(cache.data, pool)
	bytes := threads * job.pages * cache.pageBytes()
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	best := time.Hour
	for b.Loop() {
		start := time.Now()
		pool.Run(threads, job)
		best = min(best, time.Since(start))
		job.first += job.pages
	}
	rate := 1 / best.Seconds()
	b.ReportMetric(rate*float64(bytes)/1e9, "best-GB/s")
	b.ReportMetric(rate*float64(bytes)/read, "of-read")
	flops := 2 * float64(shape.queries*(shape.d+shape.dv)*context*threads)
	b.ReportMetric(rate*flops/1e9, "best-GFLOP/s")
}

// readJob reads memory, each thread a part, as a matrix of long rows times a vector: nothing that
// was tried reads faster.
type readJob struct {
	parts   [2]Matrix
	q, sums [2][]float32
}

func (j *readJob) Do(item, _ int) { Mul(j.sums[item], j.q[item], 1, j.parts[item]) }

// readRate returns the bytes per second that a pool's threads read: the best of many tries.
func readRate(data []byte, pool *Pool) float64 {
	const part, row = 4 << 20, 8 << 10
	var job readJob
	for i := range job.sums {
		job.q[i], job.sums[i] = make([]float32, row/4), make([]float32, part/row)
		job.parts[i] = Matrix{Format: F32, Rows: part / row, Cols: row / 4}
	}
	best := time.Hour
	for at := 0; at+2*part <= len(data); at += 2 * part {
		job.parts[0].Data, job.parts[1].Data = data[at:at+part], data[at+part:at+2*part]
		start := time.Now()
		pool.Run(pool.Threads(), &job)
		best = min(best, time.Since(start))
	}
	return float64(pool.Threads()*part) / best.Seconds()
}
