package kernels

import "unsafe"

// fastPanels says that there are panels of packed activations.
const fastPanels = true

const (
	panelTokens = 4 // from how many tokens on it pays to decode weights into memory
	// A panel's weights take 16 KiB and stay in the first-level cache.
	panelRows  = tileStep
	panelTiles = panelRows / tileRows
	// Numbers of a panel, and its lanes for a token.
	panelNumbers  = panelRows * panelCols
	panelPerToken = panelRows * lanes
)

// panel is the memory of a product of a few rows of weights with many tokens. Columns go by ranges,
// whose weights are decoded once for all tokens, and whose activations the first-level cache holds
// while the tiles of rows go by. From range to range the lanes are kept in memory: their sums are
// those of a whole row.
type panel struct {
	weights *[panelNumbers]float32 // decoded, [panelRows, panelCols]
	lanes   []float32              // [tiles of rows, tokens, tileRows, 16]
	tokens  int
}

// activations says where some tokens' columns lie: those of tile after tile of tokens, if they are
// packed, or of token after token.
type activations struct {
	x       *float32
	xStride int // bytes from token to token, if not packed
	packed  bool
	blocks  int // of 16 columns
}

// panelPays says whether the product with so many tokens is faster from panels.
func panelPays(tokens int, _ *Matrix) bool { return tokens >= panelTokens }

// mulPanels is mulRows for rows from lo on in whole tiles; it returns the first row that is left.
func mulPanels(dst, x []float32, tokens int, w *Matrix, lo, hi int) int {
	var weights [panelNumbers]float32
	var memory [tileTokens * panelPerToken]float32
	p := panel{&weights, memory[:], tokens}
	return p.mulAll(dst, x, false, w, lo, hi)
}

// mulPackedFast is mulPanels of packed activations.
func mulPackedFast(dst, packed []float32, tokens int, w *Matrix, lo, hi int) int {
	var weights [panelNumbers]float32
	var memory [packedTile * panelPerToken]float32
	p := panel{&weights, memory[:], tokens}
	return p.mulAll(dst, packed, true, w, lo, hi)
}

func (p *panel) mulAll(dst, x []float32, packed bool, w *Matrix, lo, hi int) int {
	for lo+tileRows <= hi {
		rows := min((hi-lo)/tileRows*tileRows, panelRows)
		p.mul(dst, x, packed, w, lo, rows)
		lo += rows
	}
	return lo
}

// tile returns the lanes of a token and of those after it, in a tile of rows.
func (p *panel) tile(i, t int) *float32 { return &p.lanes[(i*p.tokens+t)*tileRows*lanes] }

// mul is mulRows for some whole tiles of rows from r on.
func (p *panel) mul(dst, x []float32, packed bool, w *Matrix, r, rows int) {
	clear(p.lanes[:rows*p.tokens*lanes])
	step := evenPanel(w.Cols)
	for from := 0; from < w.Cols; from += step {
		n := min(step, w.Cols-from)
		p.decode(w, r, rows, from, n)
		if packed {
			p.add(activations{&x[p.tokens*from], 0, true, (n + lanes - 1) / lanes}, rows)
			continue
		}
		if n >= lanes {
			p.add(activations{&x[from], 4 * w.Cols, false, n / lanes}, rows)
		}
		if n%lanes > 0 {
			p.addTails(x, w.Cols, rows, n/lanes*lanes)
		}
	}
	for i := range rows / tileRows {
		reduceTileNEON(&dst[r+i*tileRows], 4*w.Rows, p.tile(i, 0), p.tokens)
	}
}

// decode writes n weights of each of some rows, from a column on, the last block padded as in
// tailBlocks.
func (p *panel) decode(w *Matrix, r, rows, from, n int) {
	whole := n / lanes * lanes
	for i := range rows {
		to := p.weights[i*panelCols:][:panelCols]
		decodeFast(to[:whole], w, r+i, from, 0)
		if n > whole {
			decodeTail((*[lanes]float32)(to[whole:]), w, r+i)
		}
	}
}

// addTails adds what is left of the rows after the last whole block, padded as in tailBlocks; it is
// from a column of the panel on.
func (p *panel) addTails(x []float32, cols, rows, at int) {
	from := cols / lanes * lanes
	for t := range p.tokens {
		var tail [lanes]float32
		copy(tail[:], x[t*cols+from:(t+1)*cols])
		p.addTokens(t, 1, rows, at, &tail[0], 0, 0, 1)
	}
}

// add adds the products of the panel's weights and all tokens to the lanes, by register tiles.
func (p *panel) add(a activations, rows int) {
	few, larger := evenTiles(p.tokens)
	for t := 0; t < p.tokens; larger-- {
		n := few
		if larger > 0 {
			n++
		}
		at, stride, step := t*a.xStride, a.xStride, 4*lanes
		if a.packed {
			at, stride, step = 4*lanes*t*a.blocks, 4*lanes, 4*lanes*n
		}
		x := (*float32)(unsafe.Add(unsafe.Pointer(a.x), at))
		p.addTokens(t, n, rows, 0, x, stride, step, a.blocks)
		t += n
	}
}

// addTokens is add for the n tokens of a register tile, from token t on, and weights from a column
// of the panel on.
func (p *panel) addTokens(t, n, rows, col int, x *float32, xStride, xStep, blocks int) {
	for i := range rows / tileRows {
		sums, w := p.tile(i, t), &p.weights[i*tileRows*panelCols+col]
		switch n {
		case 1:
			add1x4NEON(sums, x, xStride, xStep, w, blocks)
		case 2:
			add2x4NEON(sums, x, xStride, xStep, w, blocks)
		case 3:
			add3x4NEON(sums, x, xStride, xStep, w, blocks)
		case 4:
			add4x4NEON(sums, x, xStride, xStep, w, blocks)
		case 5:
			add5x4NEON(sums, x, xStride, xStep, w, blocks)
		default:
			add6x4NEON(sums, x, xStride, xStep, w, blocks)
		}
	}
}

// copyBlocksFast writes blocks that are step bytes apart.
func copyBlocksFast(dst *float32, step int, x *float32, blocks int) {
	for i := range blocks {
		to := unsafe.Add(unsafe.Pointer(dst), i*step)
		from := unsafe.Add(unsafe.Pointer(x), i*4*lanes)
		*(*[lanes]float32)(to) = *(*[lanes]float32)(from)
	}
}
