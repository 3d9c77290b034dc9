package kernels

import "runtime"

// MatMul computes dst [n, w.Rows] = x [n, w.Cols] · wᵀ on all threads of the pool: dst[t][r] is the
// canonical dot product of x[t] and row r of w, plus r's bias, whatever the tiles. It allocates
// nothing.
func (p *Pool) MatMul(dst, x []float32, n int, w Matrix) {
	checkMatMul(dst, x, n, w)
	if n == 0 || w.Rows == 0 {
		return
	}
	p.product = newProduct(dst, x, n, w)
	p.Run(p.product.tiles(), &p.product)
	p.product = product{}
	runtime.KeepAlive(w.Owner)
}

// Mul is MatMul on the calling thread alone, for use inside a Job.
func Mul(dst, x []float32, n int, w Matrix) {
	checkMatMul(dst, x, n, w)
	if n == 0 || w.Rows == 0 {
		return
	}
	m := newProduct(dst, x, n, w)
	for item := range m.tiles() {
		m.Do(item, 0)
	}
	runtime.KeepAlive(w.Owner)
}

func checkMatMul(dst, x []float32, n int, w Matrix) {
	w.check()
	if n < 0 || len(dst) < n*w.Rows || len(x) < n*w.Cols {
		panic("kernels: MatMul dst or x is too short")
	}
}

const (
	// A tile is the work of one item of the pool, at most some 50 µs of one thread: short enough
	// that threads finish together, long enough that claiming it costs nothing.
	tileWeights = 128 << 10 // weights read: 256 KiB of bf16, which stay in a second-level cache
	tileMACs    = 2 << 20   // multiply-adds: 40 µs at 100 GFLOP/s
	// Rows are read again for every tile of tokens; 48 is a multiple of the register tile and high
	// enough that reading them again is not what bounds the speed.
	tileTokens = 48
	tileRows   = 4 // rows of the register tile for one token
	// TileStep is what the rows of a tile are best multiples of: those decoded at once for many
	// tokens. With fewer, activations would be read more often from the second-level cache.
	TileStep = 2 * tileRows
)

// TileSize returns into how many tokens and rows the product of n > 0 tokens with a matrix is best
// cut, one such tile being what a thread does at a time. Tiles of tokens are as even as can be. It
// affects speed, never a result.
func TileSize(n, cols int) (tokens, rows int) {
	parts := (n + tileTokens - 1) / tileTokens
	tokens = (n + parts - 1) / parts
	cols = max(cols, 1)
	rows = min(tileWeights/cols, tileMACs/(cols*tokens))
	return tokens, max(rows/TileStep, 1) * TileStep
}

// product is a MatMul as a Job: items are tiles, the token tiles of one row tile beside each other
// so that the rows are still cached.
type product struct {
	dst, x       []float32
	w            Matrix
	n            int
	tokens, rows int // of one tile
	tokenTiles   int
}

func newProduct(dst, x []float32, n int, w Matrix) product {
	tokens, rows := TileSize(n, w.Cols)
	return product{dst: dst, x: x, w: w, n: n, tokens: tokens, rows: rows,
		tokenTiles: (n + tokens - 1) / tokens}
}

// tiles returns the number of items.
func (m *product) tiles() int { return m.tokenTiles * ((m.w.Rows + m.rows - 1) / m.rows) }

func (m *product) Do(item, _ int) {
	t := item % m.tokenTiles * m.tokens
	lo := item / m.tokenTiles * m.rows
	hi, tokens := min(lo+m.rows, m.w.Rows), min(m.tokens, m.n-t)
	dst := m.dst[t*m.w.Rows:]
	mulRows(dst, m.x[t*m.w.Cols:], tokens, &m.w, lo, hi)
	if m.w.Bias != nil {
		addBias(dst, tokens, m.w.Bias, lo, hi)
	}
}

// addBias adds bias[r] to dst[t*len(bias)+r] for t < tokens and lo <= r < hi.
func addBias(dst []float32, tokens int, bias []float32, lo, hi int) {
	for t := range tokens {
		row := dst[t*len(bias):][lo:hi]
		for r, b := range bias[lo:hi] {
			row[r] += b
		}
	}
}

// mulRows computes dst[t*w.Rows+r] for t < tokens and lo <= r < hi.
func mulRows(dst, x []float32, tokens int, w *Matrix, lo, hi int) {
	if fastPath && w.Cols > 0 {
		mulRowsFast(dst, x, tokens, w, lo, hi)
		return
	}
	mulRowsGeneric(dst, x, tokens, w, lo, hi)
}

// mulRowsGeneric is the plain twin: a block of a row is decoded once for up to four tokens.
func mulRowsGeneric(dst, x []float32, tokens int, w *Matrix, lo, hi int) {
	for r := lo; r < hi; r++ {
		for t := 0; t < tokens; t += 4 {
			mulRowGeneric(dst[t*w.Rows+r:], x[t*w.Cols:], min(4, tokens-t), w, r)
		}
	}
}

// mulRowGeneric computes dst[t*w.Rows] for the dot product of row r with up to four tokens.
func mulRowGeneric(dst, x []float32, tokens int, w *Matrix, r int) {
	var acc [4][lanes]float32
	var weights [lanes]float32
	k := 0
	for ; k+lanes <= w.Cols; k += lanes {
		w.decodeGeneric(weights[:], r, k)
		for t := range tokens {
			addLanes(&acc[t], (*[lanes]float32)(x[t*w.Cols+k:]), &weights)
		}
	}
	tail := weights[:w.Cols-k]
	w.decodeGeneric(tail, r, k)
	for t := range tokens {
		for l, v := range tail {
			acc[t][l] = fma32(x[t*w.Cols+k+l], v, acc[t][l])
		}
		dst[t*w.Rows] = reduce(&acc[t])
	}
}
