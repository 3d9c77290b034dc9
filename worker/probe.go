package worker

import (
	"time"

	"github.com/conclave-serve/conclave/kernels"
)

// probe measures how fast this machine works through experts, so that there is
// something to plan by before the first call. Of several products with a bf16
// matrix, on all threads, the fastest counts: others on the machine only ever slow
// one down.
//
// bandwidth, bytes a second: one row with a matrix as large as the model's experts,
// up to probeBytes. Each weight is read once, as in a step of few tokens.
// compute, operations a second, two for each row and weight: many rows with a
// matrix that stays in the cache, as in a long prompt.
//
// Both are 0 for a model so small that its experts never leave the cache.
func probe(pool *kernels.Pool, experts int64) (bandwidth, compute float64) {
	if experts < leastProbed {
		return 0, 0
	}
	w := probeMatrix(pool, int(min(experts, probeBytes)/(2*probeColumns)), probeColumns)
	once := fastest(pool, w, 1, readingTime)
	small := kernels.Matrix{Format: w.Format, Rows: computedRows, Cols: w.Cols, Data: w.Data}
	small.Data = small.Data[:2*small.Rows*small.Cols]
	many := fastest(pool, small, batchRows, computingTime)
	flop := 2 * float64(batchRows) * float64(small.Rows) * float64(small.Cols)
	return float64(len(w.Data)) / once.Seconds(), flop / many.Seconds()
}

const (
	// probeBytes is more than most caches hold; a larger matrix takes longer to fill
	// than to read.
	probeBytes = 96 << 20
	// leastProbed is less than the cache of any machine worth measuring.
	leastProbed = 16 << 20
	// probeColumns and computedRows make a matrix of 1 MiB, which stays in the cache
	// while batchRows are computed.
	probeColumns, computedRows = 2048, 256
	batchRows                  = 64
	// What each of the two takes, and one product more.
	readingTime, computingTime = 40 * time.Millisecond, 20 * time.Millisecond
)

// probeMatrix is a bf16 matrix whose pages are there.
func probeMatrix(pool *kernels.Pool, rows, cols int) kernels.Matrix {
	data := make([]byte, 2*rows*cols)
	pool.Run((len(data)+fillBytes-1)/fillBytes, filling(data))
	return kernels.Matrix{Format: kernels.BF16, Rows: rows, Cols: cols, Data: data}
}

// filling writes ordinary numbers, of 1.0 to 1.99, into a matrix.
type filling []byte

// fillBytes is what one item of filling writes.
const fillBytes = 1 << 20

// Do implements kernels.Job.
func (f filling) Do(i, _ int) {
	part := f[i*fillBytes : min((i+1)*fillBytes, len(f))]
	for at := 0; at < len(part); at += 2 {
		part[at], part[at+1] = byte(at>>1)&0x7f|0x80, 0x3f
	}
}

// fastest returns the shortest time of a product of n rows with w, of at least
// two and as many as fit the time.
func fastest(pool *kernels.Pool, w kernels.Matrix, n int, within time.Duration) time.Duration {
	x, dst := make([]float32, n*w.Cols), make([]float32, n*w.Rows)
	for i := range x {
		x[i] = 1
	}
	best := time.Hour
	began := time.Now()
	for i := 0; i < 2 || time.Since(began) < within; i++ {
		start := time.Now()
		pool.MatMul(dst, x, n, w)
		best = min(best, max(time.Since(start), time.Microsecond))
	}
	return best
}
