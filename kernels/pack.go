package kernels

import (
	"runtime"
	"unsafe"
)

const (
	// The columns of a panel, at most, and what they are a multiple of but for the last ones: MXFP4,
	// FP8 and the quantised formats decode from a scale on. kernels/gen knows that rows of a panel are
	// 2 KiB apart.
	panelCols = 512
	panelStep = 128
	// Tokens that lie together: those of the largest register tile.
	packedTokens = 6
	// From how many tokens on packing pays.
	minPacked = 32
)

// Packing says where the activations of some tokens lie for products with many tokens: in the
// order in which they are read, which is by ranges of columns as a panel has, then by tiles of
// tokens, then by blocks of 16 columns, [tokens of the tile, 16] each. The last block is padded
// with +0. Unpacked, the tokens of a tile would often lie a power of two apart, where caches hold
// few of them.
type Packing struct{ Tokens, Cols int }

// Packs says whether the product of n tokens is faster from packed activations.
func Packs(n int) bool { return fastPanels && fastPath && n >= minPacked }

// Len returns how many numbers the activations take. They are best at the beginning of a line of
// cache.
func (p Packing) Len() int { return p.Tokens * p.padded() }

func (p Packing) padded() int { return (p.Cols + lanes - 1) / lanes * lanes }

// Put writes x as the columns of token t from a column on. Different columns may be put at once;
// what pads the last block comes with the last column.
func (p Packing) Put(packed []float32, t, from int, x []float32) {
	if t < 0 || t >= p.Tokens || from < 0 || from+len(x) > p.Cols || len(packed) < p.Len() {
		panic("kernels: Packing.Put of something out of range")
	}
	first, tokens := evenTile(t, p.Tokens)
	for len(x) > 0 {
		start := from / p.panel() * p.panel()
		end := min(start+p.panel(), p.padded())
		tile := packed[p.Tokens*start+first*(end-start):]
		n := min(end-from, len(x))
		putBlocks(tile[(t-first)*lanes:], tokens*lanes, from-start, x[:n])
		from, x = from+n, x[n:]
	}
	if from != p.Cols || from%lanes == 0 {
		return
	}
	start := from / p.panel() * p.panel()
	end := min(start+p.panel(), p.padded())
	last := p.Tokens*start + first*(end-start) + (from-start)/lanes*tokens*lanes + (t-first)*lanes
	clear(packed[last+from%lanes : last+lanes])
}

// putBlocks writes x as columns from on of blocks that are step numbers apart.
func putBlocks(dst []float32, step, from int, x []float32) {
	for len(x) > 0 {
		at := from / lanes * step
		if from%lanes == 0 && len(x) >= lanes {
			whole := len(x) / lanes
			_ = dst[at+(whole-1)*step+lanes-1]
			copyBlocks(&dst[at], step, &x[0], whole)
			from, x = from+whole*lanes, x[whole*lanes:]
			continue
		}
		n := copy(dst[at+from%lanes:at+lanes], x)
		from, x = from+n, x[n:]
	}
}

// copyBlocks writes blocks of 16 numbers that are step numbers apart.
func copyBlocks(dst *float32, step int, x *float32, blocks int) {
	if fastPanels && fastPath {
		copyBlocksFast(dst, 4*step, x, blocks)
		return
	}
	from, to := unsafe.Slice(x, blocks*lanes), unsafe.Slice(dst, (blocks-1)*step+lanes)
	for i := range blocks {
		copy(to[i*step:], from[i*lanes:(i+1)*lanes])
	}
}

// panel returns into how many columns at a time the activations are cut: as even as can be.
func (p Packing) panel() int { return evenPanel(p.Cols) }

func evenPanel(cols int) int {
	parts := max((cols+panelCols-1)/panelCols, 1)
	even := (cols + parts - 1) / parts
	return max((even+panelStep-1)/panelStep*panelStep, panelStep)
}

// evenTile returns the tile of one of n tokens: the first token and how many there are, which
// differ by one at most.
func evenTile(t, n int) (first, tokens int) {
	few, larger := evenTiles(n)
	if t < larger*(few+1) {
		return t / (few + 1) * (few + 1), few + 1
	}
	past := t - larger*(few+1)
	return t - past%few, few
}

// evenTiles returns how many tokens a tile has, but for the first ones, so many of which have one
// more.
func evenTiles(n int) (few, larger int) {
	tiles := (n + packedTokens - 1) / packedTokens
	return n / tiles, n % tiles
}

// block returns sixteen columns of a token from a column on, a multiple of 16.
func (p Packing) block(packed []float32, t, from int) *[lanes]float32 {
	first, tokens := evenTile(t, p.Tokens)
	start := from / p.panel() * p.panel()
	end := min(start+p.panel(), p.padded())
	at := p.Tokens*start + first*(end-start) + (from-start)*tokens + (t-first)*lanes
	return (*[lanes]float32)(packed[at:])
}

// MulPacked is Mul of n packed activations, which are no more than Tile makes a tile of.
func MulPacked(dst, packed []float32, n int, w Matrix) {
	w.check()
	if n < 0 || len(dst) < n*w.Rows || len(packed) < (Packing{n, w.Cols}).Len() {
		panic("kernels: MulPacked dst or packed is too short")
	}
	if n == 0 || w.Rows == 0 {
		return
	}
	if tokens, _ := tileSize(n, w.Cols, true); tokens != n {
		panic("kernels: MulPacked of more tokens than a tile has")
	}
	mulPacked(dst, packed, n, &w, 0, w.Rows)
	if w.Bias != nil {
		addBias(dst, n, w.Bias, 0, w.Rows)
	}
	runtime.KeepAlive(w.Owner)
}

// mulPacked is mulRows of packed activations.
func mulPacked(dst, packed []float32, tokens int, w *Matrix, lo, hi int) {
	if fastPanels && fastPath && w.Cols > 0 {
		lo = mulPackedFast(dst, packed, tokens, w, lo, hi)
	}
	mulPackedGeneric(dst, packed, tokens, w, lo, hi)
}

// mulPackedGeneric is the plain twin.
func mulPackedGeneric(dst, packed []float32, tokens int, w *Matrix, lo, hi int) {
	p := Packing{tokens, w.Cols}
	for r := lo; r < hi; r++ {
		for t := range tokens {
			var acc, weights [lanes]float32
			for k := 0; k < w.Cols; k += lanes {
				n := min(lanes, w.Cols-k)
				w.decodeGeneric(weights[:n], r, k)
				x := p.block(packed, t, k)
				for l := range n {
					acc[l] = fma32(x[l], weights[l], acc[l])
				}
			}
			dst[t*w.Rows+r] = reduce(&acc)
		}
	}
}

// sizedFloats returns n numbers at the beginning of a line of cache, of the same memory if it is
// enough.
func sizedFloats(memory []float32, n int) []float32 {
	if cap(memory) >= n {
		return memory[:n]
	}
	const line = 16
	memory = make([]float32, n+line-1)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(memory))) / 4 % line
	return memory[skip:][:n]
}
