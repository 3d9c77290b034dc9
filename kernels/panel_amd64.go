package kernels

import "unsafe"

// fastPanels says that there are panels of packed activations.
const fastPanels = true

const (
	// From how many tokens on it pays to decode weights into memory. Formats of 16 bits are cheap
	// for an AVX2 tile to decode by itself: with those it pays where the activations of a tile's
	// three tokens, of more than panelCols16 columns, are too long for a first-level cache.
	panelTokens   = 4
	panelTokens16 = 8
	panelCols16   = 2048
	// A panel's weights take 16 KiB and stay in the first-level cache, beside the activations of a
	// tile and of the next.
	panelRows = tileStep
	// Tokens of the largest register tile.
	avx2Tokens   = 3
	avx512Tokens = packedTokens
	cacheLine    = 64
	// Numbers of a panel for up to so many tokens.
	fewTokens      = 16
	panelNumbers   = panelRows*panelCols + cacheLine/4
	panelPerToken  = (panelRows + 1) * lanes
	packedPerToken = panelRows * lanes
)

// panel is the memory of a product of a few rows of weights with many tokens. Columns go by ranges,
// whose weights are decoded once for all tokens. From range to range the lanes are kept in memory:
// their sums are those of a whole row.
type panel struct {
	weights []float32 // decoded, [panelRows, panelCols]
	lanes   []float32 // by register tiles' tokens, then by tileRows rows, [tokens, tileRows, 16]
	tails   []float32 // of activations that are not packed, padded: [tokens, 16]
}

// newPanel returns a panel that begins with a line of cache: no load is then from two.
func newPanel(memory []float32, tokens int) panel {
	memory = memory[-uintptr(unsafe.Pointer(&memory[0]))%cacheLine/4:]
	memory, weights := memory[panelRows*panelCols:], memory[:panelRows*panelCols]
	return panel{weights, memory[:tokens*panelRows*lanes], memory[tokens*panelRows*lanes:]}
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
	if tokens <= fewTokens { // clearing more would be felt
		return mulFewPanels(dst, x, tokens, w, lo, hi)
	}
	var memory [panelNumbers + tileTokens*panelPerToken]float32
	p := newPanel(memory[:], tokens)
	return p.mulAll(dst, x, false, tokens, w, lo, hi)
}

//go:noinline
func mulFewPanels(dst, x []float32, tokens int, w *Matrix, lo, hi int) int {
	var memory [panelNumbers + fewTokens*panelPerToken]float32
	p := newPanel(memory[:], tokens)
	return p.mulAll(dst, x, false, tokens, w, lo, hi)
}

// mulPackedFast is mulPanels of packed activations.
func mulPackedFast(dst, packed []float32, tokens int, w *Matrix, lo, hi int) int {
	var memory [panelNumbers + packedTile*packedPerToken]float32
	p := newPanel(memory[:], tokens)
	return p.mulAll(dst, packed, true, tokens, w, lo, hi)
}

func (p *panel) mulAll(dst, x []float32, packed bool, tokens int, w *Matrix, lo, hi int) int {
	for lo+tileRows <= hi {
		rows := min((hi-lo)/tileRows*tileRows, panelRows)
		p.mul(dst, x, packed, tokens, w, lo, rows)
		lo += rows
	}
	return lo
}

// mul is mulRows for some whole tiles of rows from r on.
func (p *panel) mul(dst, x []float32, packed bool, tokens int, w *Matrix, r, rows int) {
	step := evenPanel(w.Cols)
	var next following
	a := adding{tokens: tokens, rows: rows, next: &next, dst: &dst[r], dstStride: 4 * w.Rows}
	a.first = 1
	for from := 0; from < w.Cols; from += step {
		n := min(step, w.Cols-from)
		p.decode(w, r, rows, from, n)
		if from+step < w.Cols {
			next.set(w, r, rows, from+step)
		} else {
			next.set(w, r+rows, rows, 0)
		}
		a.weights, a.last = &p.weights[0], from+step >= w.Cols
		if packed {
			a.x, a.packed = &x[tokens*from], true
			a.blocks = (n + lanes - 1) / lanes
			p.add(&a)
			a.first = 0
			continue
		}
		if a.blocks = n / lanes; a.blocks > 0 {
			whole := a
			whole.x, whole.xStride, whole.last = &x[from], 4*w.Cols, n%lanes == 0 && a.last
			p.add(&whole)
			a.first = 0
		}
		if n%lanes > 0 {
			p.padTails(x, tokens, w.Cols)
			a.weights = &p.weights[n/lanes*lanes]
			a.x, a.xStride, a.blocks = &p.tails[0], 4*lanes, 1
			p.add(&a)
		}
	}
}

// padTails copies what is left of the tokens after the last whole block, padded as in tailBlocks.
func (p *panel) padTails(x []float32, tokens, cols int) {
	from := cols / lanes * lanes
	for t := range tokens {
		block := p.tails[t*lanes:][:lanes]
		clear(block[copy(block, x[t*cols+from:(t+1)*cols]):])
	}
}

// decode writes n weights of each of some rows, from a column on, the last block padded as in
// tailBlocks.
func (p *panel) decode(w *Matrix, r, rows, from, n int) {
	whole := n / lanes * lanes
	if n > whole {
		for i := range rows {
			decodeTail((*[lanes]float32)(p.weights[i*panelCols+whole:]), w, r+i)
		}
	}
	if whole == 0 {
		return
	}
	if w.Format > F16 {
		for i := range rows {
			decodeFast(p.weights[i*panelCols:][:whole], w, r+i, from, 0)
		}
		return
	}
	dst, src := &p.weights[0], &w.Data[r*w.stride()+w.Format.Bytes(from)]
	if wide {
		widenAVX512(w.Format, dst, src, w.stride(), rows, whole/lanes)
	} else {
		widenAVX2(w.Format, dst, src, w.stride(), rows, whole/lanes)
	}
}

// adding is a range of columns that is added to the lanes of all tokens.
type adding struct {
	x         *float32
	xStride   int // bytes from token to token, if not packed
	weights   *float32
	dst       *float32
	dstStride int // in bytes
	first     int // 1 if the lanes are to begin with zero
	tokens    int
	rows      int // whole tiles
	blocks    int
	packed    bool
	last      bool // the lanes are then reduced to dst
	next      *following
}

// tileOperands is the parameter of the assembly. For some tiles of four rows of weights, whose
// lanes lie behind each other, it adds the products with some blocks of a register tile's tokens.
// Strides and steps are in bytes. kernels/gen has the names of the fields in this order.
type tileOperands struct {
	lanes          *float32 // [tiles, tokens, 4, 16]
	x              *float32
	xStride, xStep int // from token to token, from block to block
	w              *float32
	blocks         int
	tiles          int
	first          int
	ahead          uintptr // see following; it is moved to the next two rows for the next tile
	aheadStride    int
	aheadStep      int     // for two blocks
	near           uintptr // the next tile's activations, to be prefetched meanwhile
	nearStep       int     // for two blocks
	nearLanes      uintptr // its lanes
}

// add goes over all tokens by register tiles.
func (p *panel) add(a *adding) {
	var o tileOperands
	o.xStride, o.xStep = a.xStride, 4*lanes
	o.w, o.blocks, o.first = a.weights, a.blocks, a.first
	few, larger := evenTiles(a.tokens)
	for first := 0; first < a.tokens; larger-- {
		tile := few
		if larger > 0 {
			tile++
		}
		at := first * a.xStride
		if a.packed {
			at, o.xStride, o.xStep = 4*lanes*first*a.blocks, 4*lanes, 4*lanes*tile
		}
		end := first + tile
		for first < end {
			n := end - first
			if n > avx2Tokens && !wide {
				n = (n + 1) / 2
			}
			// What lies in memory of the caller's must be assigned here, or it would escape.
			o.x = (*float32)(unsafe.Add(unsafe.Pointer(a.x), at))
			o.lanes, o.tiles = &p.lanes[first*a.rows*lanes], a.rows/tileRows
			o.nearLanes = uintptr(unsafe.Pointer(o.lanes)) + uintptr(4*lanes*a.rows*n)
			o.near, o.nearStep = o.nearLanes, 0
			if a.packed { // tiles lie behind each other
				o.near = uintptr(unsafe.Pointer(a.x)) + uintptr(4*lanes*a.blocks*(first+tile))
				o.nearStep = nearLines(n) * 4 * lanes
			}
			a.next.ask(&o)
			if wide {
				addAVX512(n, (*byte)(unsafe.Pointer(&o)))
			} else {
				addAVX2(n, (*byte)(unsafe.Pointer(&o)))
			}
			if a.last {
				p.reduce(a, first, n)
			}
			at, first = at+n*o.xStride, first+n
		}
	}
}

// nearLines is how many lines of activations a tile of n tokens prefetches for two blocks.
func nearLines(n int) int {
	if wide {
		return n
	}
	return (n + 1) / 2
}

// reduce writes the dot products of n tokens.
func (p *panel) reduce(a *adding, t, n int) {
	for i := range a.rows / tileRows {
		at := (t*a.rows + i*n*tileRows) * lanes
		dst := (*float32)(unsafe.Add(unsafe.Pointer(a.dst), t*a.dstStride+4*i*tileRows))
		if wide {
			reduceTileAVX512(dst, a.dstStride, &p.lanes[at], n)
		} else {
			reduceTileAVX2(dst, a.dstStride, &p.lanes[at], n)
		}
	}
}

// following is the weights that the panel will hold next, to be prefetched meanwhile: so many rows
// that are stride bytes apart. They may lie behind the last row of a matrix that is a Slice: what
// is done next is most often the next slice.
type following struct{ at, rows, stride, step int }

// set takes rows from r on, from a column on.
func (f *following) set(w *Matrix, r, rows, col int) {
	*f = following{rows: rows, stride: w.stride(), step: w.quantsAt(2 * lanes)}
	if !wide { // which goes over the blocks twice
		f.step /= 2
	}
	at := r*f.stride + w.quantsAt(col)
	if at >= len(w.Data) {
		f.rows = 0
		return
	}
	f.at = int(uintptr(unsafe.Pointer(&w.Data[at])))
}

// ask takes two rows for each tile of rows.
func (f *following) ask(o *tileOperands) {
	if f.rows <= 0 { // there is nothing to ask for
		o.ahead, o.aheadStride, o.aheadStep = uintptr(unsafe.Pointer(o.w)), 0, 0
		return
	}
	o.ahead, o.aheadStride, o.aheadStep = uintptr(f.at), f.stride, f.step
	f.at, f.rows = f.at+2*o.tiles*f.stride, f.rows-2*o.tiles
}

func copyBlocksFast(dst *float32, step int, x *float32, blocks int) {
	copyBlocksAVX2(dst, step, x, blocks)
}

func addAVX2(tokens int, operands *byte) {
	switch tokens {
	case 1:
		add1x4AVX2(operands)
	case 2:
		add2x4AVX2(operands)
	default:
		add3x4AVX2(operands)
	}
}

func addAVX512(tokens int, operands *byte) {
	switch tokens {
	case 1:
		add1x4AVX512(operands)
	case 2:
		add2x4AVX512(operands)
	case 3:
		add3x4AVX512(operands)
	case 4:
		add4x4AVX512(operands)
	case 5:
		add5x4AVX512(operands)
	default:
		add6x4AVX512(operands)
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
