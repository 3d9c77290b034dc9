package kernels

// MatMul computes dst [n, w.Rows] = x [n, w.Cols] · wᵀ on all threads of the pool: dst[t][r] is the
// canonical dot product of x[t] and row r of w, whatever the tiles. It allocates nothing.
func (p *Pool) MatMul(dst, x []float32, n int, w Matrix) {
	checkMatMul(dst, x, n, w)
	if n == 0 || w.Rows == 0 {
		return
	}
	tokens, rows := tileSize(n, w.Cols)
	p.product = product{dst: dst, x: x, w: w, n: n, tokens: tokens, rows: rows,
		tokenTiles: (n + tokens - 1) / tokens}
	p.Run(p.product.tokenTiles*((w.Rows+rows-1)/rows), &p.product)
	p.product = product{}
}

func checkMatMul(dst, x []float32, n int, w Matrix) {
	if n < 0 || len(dst) < n*w.Rows || len(x) < n*w.Cols {
		panic("kernels: MatMul dst or x is too short")
	}
	if w.Format > F16 {
		panic("kernels: MatMul of an unknown format")
	}
	if len(w.Data) < w.Rows*w.Cols*w.Format.Size() {
		panic("kernels: MatMul weights are shorter than rows times columns")
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
	tileRows   = 4 // rows of the register tile for one token; row tiles are multiples of it
)

// tileSize returns the tokens and rows of a tile. It affects speed, never a result.
func tileSize(n, cols int) (tokens, rows int) {
	tokens = min(n, tileTokens)
	cols = max(cols, 1)
	rows = min(tileWeights/cols, tileMACs/(cols*tokens))
	return tokens, max(rows/tileRows, 1) * tileRows
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

func (m *product) Do(item, _ int) {
	t := item % m.tokenTiles * m.tokens
	lo := item / m.tokenTiles * m.rows
	mulRows(m.dst[t*m.w.Rows:], m.x[t*m.w.Cols:], min(m.tokens, m.n-t), &m.w,
		lo, min(lo+m.rows, m.w.Rows))
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
		row := w.Row(r)
		for t := 0; t < tokens; t += 4 {
			mulRowGeneric(dst[t*w.Rows+r:], x[t*w.Cols:], min(4, tokens-t), row, w)
		}
	}
}

// mulRowGeneric computes dst[t*w.Rows] for the dot product of row with up to four tokens.
func mulRowGeneric(dst, x []float32, tokens int, row []byte, w *Matrix) {
	var acc [4][lanes]float32
	var weights [lanes]float32
	size := w.Format.Size()
	k := 0
	for ; k+lanes <= w.Cols; k += lanes {
		Decode(weights[:], row[k*size:], w.Format)
		for t := range tokens {
			addLanes(&acc[t], (*[lanes]float32)(x[t*w.Cols+k:]), &weights)
		}
	}
	tail := weights[:w.Cols-k]
	Decode(tail, row[k*size:], w.Format)
	for t := range tokens {
		for l, v := range tail {
			acc[t][l] = fma32(x[t*w.Cols+k+l], v, acc[t][l])
		}
		dst[t*w.Rows] = reduce(&acc[t])
	}
}
