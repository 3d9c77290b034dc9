package kernels

import "unsafe"

const (
	// From how many tokens on it pays to decode weights into memory. Formats of 16 bits are cheap
	// for an AVX2 tile to decode by itself: with those it pays where the activations of a tile's
	// three tokens, of more than panelCols16 columns, are too long for a first-level cache.
	panelTokens   = 4
	panelTokens16 = 8
	panelCols16   = 2048
	panelCols     = 512 // kernels/gen knows that rows of a panel are 2 KiB apart
	// A panel's weights take 16 KiB and stay in the first-level cache.
	panelRows  = TileStep
	panelTiles = panelRows / tileRows
	// Tokens of the largest register tile.
	avx2Tokens   = 3
	avx512Tokens = 4
	cacheLine    = 64
)

// panel is the memory of a product of a few rows of weights with many tokens. Columns go by blocks,
// whose weights are decoded once for all tokens, and whose activations the first-level cache holds
// while the tiles of rows go by. From block to block the lanes are kept in memory: their sums are
// those of a whole row.
type panel struct {
	weights [panelRows * panelCols]float32                     // decoded
	lanes   [panelTiles][tileTokens * tileRows * lanes]float32 // [tokens, tileRows, 16]
	x       [lanes]float32                                     // the tail of a token, padded
}

// newPanel returns a panel in memory at the beginning of a line of cache: no load is then from two.
func newPanel(memory *[unsafe.Sizeof(panel{}) + cacheLine]byte) *panel {
	at := -uintptr(unsafe.Pointer(memory)) % cacheLine
	return (*panel)(unsafe.Pointer(&memory[at]))
}

// panelPays says whether the product with so many tokens is faster from panels.
func panelPays(tokens int, w *Matrix) bool {
	if !wide && (w.Format == BF16 || w.Format == F16) {
		return tokens >= panelTokens16 && w.Cols > panelCols16
	}
	return tokens >= panelTokens
}

// mulPanels is mulRows for rows from lo on in whole tiles; it returns the first row that is left.
func mulPanels(dst, x []float32, tokens int, w *Matrix, lo, hi int) int {
	var memory [unsafe.Sizeof(panel{}) + cacheLine]byte
	p := newPanel(&memory)
	for lo+tileRows <= hi {
		rows := min((hi-lo)/tileRows*tileRows, panelRows)
		p.mul(dst, x, tokens, w, lo, rows)
		lo += rows
	}
	return lo
}

// mul is mulRows for some whole tiles of rows from r on, and up to tileTokens tokens.
func (p *panel) mul(dst, x []float32, tokens int, w *Matrix, r, rows int) {
	for i := range rows / tileRows {
		clear(p.lanes[i][:tokens*tileRows*lanes])
	}
	whole := w.Cols / lanes * lanes
	for from := 0; from < whole; from += panelCols {
		n := min(panelCols, whole-from)
		p.decode(w, r, rows, from, n)
		next := following{w: w, row: r, rows: rows, col: from + panelCols}
		if next.col >= whole {
			next.row, next.col = r+rows, 0
		}
		p.add(x[from:], w.Cols, tokens, rows, n/lanes, &next)
	}
	if whole < w.Cols {
		p.addTails(x, tokens, w, r, rows)
	}
	for i := range rows / tileRows {
		reduceTileAVX2(&dst[r+i*tileRows], 4*w.Rows, &p.lanes[i][0], tokens)
	}
}

// decode writes n weights of each of some rows, from a column on.
func (p *panel) decode(w *Matrix, r, rows, from, n int) {
	if w.Format > F16 {
		for i := range rows {
			decodeFast(p.weights[i*panelCols:][:n], w, r+i, from, 0)
		}
		return
	}
	dst, src := &p.weights[0], &w.Data[r*w.stride()+w.Format.Bytes(from)]
	if wide {
		widenAVX512(w.Format, dst, src, w.stride(), rows, n/lanes)
	} else {
		widenAVX2(w.Format, dst, src, w.stride(), rows, n/lanes)
	}
}

// addTails adds what is left of the rows after the last whole block, padded as in tailBlocks.
func (p *panel) addTails(x []float32, tokens int, w *Matrix, r, rows int) {
	from := w.Cols / lanes * lanes
	for i := range rows {
		decodeTail((*[lanes]float32)(p.weights[i*panelCols:]), w, r+i)
	}
	clear(p.x[:])
	for t := range tokens {
		copy(p.x[:], x[t*w.Cols+from:][:w.Cols-from])
		p.addTokens(t, 1, rows, &p.x[0], 0, 1, &following{})
	}
}

// add adds some blocks' products of the panel's weights and all tokens to the lanes.
func (p *panel) add(x []float32, cols, tokens, rows, blocks int, next *following) {
	most := avx2Tokens
	if wide {
		most = avx512Tokens
	}
	for t, tiles := 0, (tokens+most-1)/most; t < tokens; tiles-- {
		n := (tokens - t + tiles - 1) / tiles // as even as can be
		p.addTokens(t, n, rows, &x[t*cols], 4*cols, blocks, next)
		t += n
	}
}

// addTokens is add for the n tokens of a register tile, from token t on.
func (p *panel) addTokens(t, n, rows int, x *float32, xStride, blocks int, next *following) {
	for i := range rows / tileRows {
		a := next.pair()
		if a.base == nil { // there is nothing to ask for
			a.base = (*byte)(unsafe.Pointer(p))
		}
		sums := &p.lanes[i][t*tileRows*lanes]
		weights := &p.weights[i*tileRows*panelCols]
		if wide {
			addAVX512(n, sums, x, xStride, weights, blocks, a)
		} else {
			a.step /= 2 // since it goes over the blocks twice
			addAVX2(n, sums, x, xStride, weights, blocks, a)
		}
	}
}

// following is the weights that the panel will hold next, to be prefetched meanwhile.
type following struct {
	w              *Matrix
	row, rows, col int
}

// ahead is where the assembly prefetches: two rows that are stride bytes apart, and step bytes
// further for every two blocks. Base is nil if there are none.
type ahead struct {
	base         *byte
	stride, step int
}

// pair takes the first two rows. They may lie behind the last row of a matrix that is a Slice: what
// is done next is most often the next slice.
func (f *following) pair() ahead {
	if f.rows <= 0 {
		return ahead{}
	}
	stride := f.w.stride()
	at := f.row*stride + f.w.quantsAt(f.col)
	if at >= len(f.w.Data) {
		return ahead{}
	}
	f.row, f.rows = f.row+2, f.rows-2
	return ahead{&f.w.Data[at], stride, f.w.quantsAt(2 * lanes)}
}

func addAVX2(tokens int, lanes, x *float32, xStride int, w *float32, blocks int, a ahead) {
	switch tokens {
	case 1:
		add1x4AVX2(lanes, x, xStride, w, blocks, a.base, a.stride, a.step)
	case 2:
		add2x4AVX2(lanes, x, xStride, w, blocks, a.base, a.stride, a.step)
	default:
		add3x4AVX2(lanes, x, xStride, w, blocks, a.base, a.stride, a.step)
	}
}

func addAVX512(tokens int, lanes, x *float32, xStride int, w *float32, blocks int, a ahead) {
	switch tokens {
	case 1:
		add1x4AVX512(lanes, x, xStride, w, blocks, a.base, a.stride, a.step)
	case 2:
		add2x4AVX512(lanes, x, xStride, w, blocks, a.base, a.stride, a.step)
	case 3:
		add3x4AVX512(lanes, x, xStride, w, blocks, a.base, a.stride, a.step)
	default:
		add4x4AVX512(lanes, x, xStride, w, blocks, a.base, a.stride, a.step)
	}
}

func widenAVX2(f Format, panel *float32, w *byte, stride, rows, blocks int) {
	switch f {
	case F32:
		widenF32AVX2(panel, w, stride, rows, blocks)
	case BF16:
		widenBF16AVX2(panel, w, stride, rows, blocks)
	case F16:
		widenF16AVX2(panel, w, stride, rows, blocks)
	}
}

func widenAVX512(f Format, panel *float32, w *byte, stride, rows, blocks int) {
	switch f {
	case F32:
		widenF32AVX512(panel, w, stride, rows, blocks)
	case BF16:
		widenBF16AVX512(panel, w, stride, rows, blocks)
	case F16:
		widenF16AVX512(panel, w, stride, rows, blocks)
	}
}
