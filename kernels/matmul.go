package kernels

import "runtime"

// MatMul computes dst [n, w.Rows] = x [n, w.Cols] · wᵀ on all threads of the pool: dst[t][r] is the
// canonical dot product of x[t] and row r of w, plus r's bias, whatever the tiles. It allocates
// nothing. x is rounded first if w is interleaved, and the dot product is that of MulRounded.
func (p *Pool) MatMul(dst, x []float32, n int, w Matrix) {
	checkMatMul(dst, x, n, w)
	if n == 0 || w.Rows == 0 {
		return
	}
	m := &p.product
	m.product, m.x = newProduct(dst, x, n, w, packs(n, &w), p.threads, p.Nodes()), x
	if w.Format.Interleaved() {
		m.rounded = p.round(x, n, w.Cols)
	}
	p.pack(m)
	p.Run(m.tiles(), &m.product)
	p.product = packing{}
	runtime.KeepAlive(w.Owner)
}

// pack packs the activations of a product that reads them packed.
func (p *Pool) pack(m *packing) {
	if !m.packed {
		return
	}
	p.packed = sizedFloats(p.packed, m.n*Packing{1, m.w.Cols}.Len())
	m.product.x = p.packed
	p.Run(m.items(), m)
}

// Mul is MatMul on the calling thread alone, for use inside a Job; w must not be interleaved (see
// MulRounded).
func Mul(dst, x []float32, n int, w Matrix) {
	checkMatMul(dst, x, n, w)
	if w.Format.Interleaved() {
		panic("kernels: Mul of an interleaved matrix needs rounded activations")
	}
	if n == 0 || w.Rows == 0 {
		return
	}
	m := newProduct(dst, x, n, w, false, 1, 1)
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

// Each thread has so many tiles at least, if a product is small.
const tilesPerThread = 6

const (
	// A tile is the work of one item of the pool, at most some 50 µs of one thread: short enough
	// that threads finish together, long enough that claiming it costs nothing.
	tileWeights = 128 << 10 // weights read: 256 KiB of bf16, which stay in a second-level cache
	tileMACs    = 2 << 20   // multiply-adds: 40 µs at 100 GFLOP/s
	// Rows are read again for every tile of tokens; 48 is a multiple of the register tile and high
	// enough that reading them again is not what bounds the speed.
	tileTokens = 48
	// Packed activations are many, and weights are decoded for each tile of them again: at 128 tokens
	// that is 2 % of the time. They have to stay in a second-level cache.
	packedTile   = 128
	packedMACs   = 8 * tileMACs
	packedCached = 256 << 10 // numbers
	tileRows     = 4         // rows of the register tile for one token
	// The rows of a tile are best multiples of tileStep: those decoded at once for many tokens. With
	// fewer, activations would be read more often from the second-level cache.
	tileStep = 2 * tileRows
)

// Tile returns into how many tokens, and at most how many rows, the product of n > 0 tokens with a
// matrix is best cut, one such tile being what a thread does at a time. Tiles of tokens are as even
// as can be. It affects speed, never a result.
func Tile(n int, w *Matrix) (tokens, rows int) {
	if w.Format.Interleaved() {
		return roundedTile(n, w.Cols)
	}
	return tileSize(n, w.Cols, Packs(n))
}

func tileSize(n, cols int, packed bool) (tokens, rows int) {
	cols = max(cols, 1)
	most, macs := tileTokens, tileMACs
	if packed {
		most, macs = min(max(packedCached/cols, tileTokens), packedTile), packedMACs
	}
	parts := (n + most - 1) / most
	tokens = (n + parts - 1) / parts
	rows = min(tileWeights/cols, macs/(cols*tokens))
	return tokens, max(rows/tileStep, 1) * tileStep
}

// product is a MatMul as a Job: items are tiles. The token tiles of one row tile lie beside each
// other so that the rows are still cached, but for packed activations the other way round: those of
// one tile of tokens are what fills a cache.
type product struct {
	dst, x     []float32
	w          Matrix
	n          int
	tokens     int // of one tile
	tokenTiles int
	cut        Cut
	packed     bool
	rounded    *Rounded // x, for an interleaved matrix
}

// packs says whether the product of n tokens with a matrix reads packed activations.
func packs(n int, w *Matrix) bool { return Packs(n) && w.Cols > 0 && !w.Format.Interleaved() }

func newProduct(dst, x []float32, n int, w Matrix, packed bool, threads, nodes int) product {
	tokens, rows := tileSize(n, w.Cols, packed)
	if w.Format.Interleaved() {
		tokens, rows = roundedTile(n, w.Cols)
	}
	tokenTiles := (n + tokens - 1) / tokens
	rows = min(rows, w.Rows*tokenTiles/(tilesPerThread*threads))
	return product{dst: dst, x: x, w: w, n: n, tokens: tokens, cut: NewCut(&w, rows, nodes),
		tokenTiles: tokenTiles, packed: packed}
}

// tiles returns the number of items.
func (m *product) tiles() int { return m.tokenTiles * m.cut.Tiles() }

func (m *product) Do(item, _ int) {
	t, tile := item%m.tokenTiles*m.tokens, item/m.tokenTiles
	if m.packed {
		t, tile = item/m.cut.Tiles()*m.tokens, item%m.cut.Tiles()
	}
	lo, hi := m.cut.Tile(tile)
	tokens := min(m.tokens, m.n-t)
	dst := m.dst[t*m.w.Rows:]
	switch {
	case m.rounded != nil:
		mulBands(dst, m.rounded, t, tokens, &m.w, lo, hi, nil)
	case m.packed:
		mulPacked(dst, m.x[t*Packing{1, m.w.Cols}.Len():], tokens, &m.w, lo, hi)
	default:
		mulRows(dst, m.x[t*m.w.Cols:], tokens, &m.w, lo, hi)
	}
	if m.w.Bias != nil {
		addBias(dst, tokens, m.w.Bias, lo, hi)
	}
}

// packing is the job that packs the activations of a product for the next one: items are tiles of
// tokens.
type packing struct {
	product
	x []float32 // not packed
}

const packItem = packedTokens

func (p *packing) items() int { return (p.n + packItem - 1) / packItem }

func (p *packing) Do(item, _ int) {
	cols := p.w.Cols
	for t := item * packItem; t < min((item+1)*packItem, p.n); t++ {
		tile := t / p.tokens * p.tokens
		to := Packing{min(p.tokens, p.n-tile), cols}
		to.Put(p.product.x[tile*to.padded():], t-tile, 0, p.x[t*cols:][:cols])
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
