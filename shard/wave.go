package shard

import (
	"cmp"
	"slices"

	"github.com/conclave-serve/conclave/kernels"
)

// A group is computed by waves of some experts: three jobs of the pool, whose
// items are tiles of all the wave's experts, so that a thread that is done with
// one expert helps with the next, and threads wait for each other only between
// jobs. Which thread computes a tile, and how large tiles are, never shows in a
// result: each number is one canonical dot product, and what follows on it.

// maxWave is how many numbers the inputs and middles of a wave take, 16 MiB; an
// expert that needs more is a wave by itself. A wave of as many rows takes far
// longer than waiting for the last thread, and the caches still hold some of it.
const maxWave = 4 << 20

// No tile is more than this part of a thread's share of a wave: it bounds how long
// threads wait for the last one. Smaller ones would cost more than they save.
const tilesPerThread = 8

// part is one expert's share of a group.
type part struct {
	expert  *Expert
	rows    []uint32
	weights []float32
	first   int       // where its rows begin in the group
	x       []float32 // [rows, hidden]
	middle  []float32 // [rows, width]
	gather  bool      // x is memory of its own, to be filled
	packed  bool      // x and middle are packed, each tile of tokens by itself
	rounded bool      // x is not used, and x and middle are rounded
	at      int       // where its rows begin in what is rounded
	copied  int       // items of gathering up to the last of these
	gating  tiling
	down    tiling
}

// tiling is how a part's rows times a matrix's rows are cut into items of a job.
// Tiles of one range of weights lie beside each other, so that it is still cached.
type tiling struct {
	tokens     int // of a tile
	tokenTiles int
	cut        kernels.Cut
	end        int // items of the wave up to the last of these
}

// tile is the memory of one thread: outputs of Gate and Up, or Down.
type tile struct{ a, b []float32 }

// divide sets the parts of a group. Those with the most rows come first: their
// tiles take the longest, and the short ones at the end let threads end together.
func (w *Work) divide(g *Group) {
	w.parts = w.parts[:0]
	at := 0
	for i, e := range g.Experts {
		end := at + int(g.Counts[i])
		if end > at {
			w.parts = append(w.parts, part{
				expert: e, rows: g.Rows[at:end], weights: g.Weights[at:end], first: at,
			})
		}
		at = end
	}
	slices.SortStableFunc(w.parts, func(a, b part) int {
		return cmp.Compare(len(b.rows), len(a.rows))
	})
}

// numbers is how many a part's inputs and middle are.
func (p *part) numbers() int {
	return len(p.rows) * (p.expert.Gate.Cols + p.expert.Gate.Rows)
}

// waveOf returns how many of the parts are the next wave.
func waveOf(parts []part) int {
	sum := parts[0].numbers()
	for i := range parts[1:] {
		p := &parts[1+i]
		if sum += p.numbers(); sum > maxWave || !p.alike(&parts[0]) {
			return 1 + i
		}
	}
	return len(parts)
}

// alike reports whether two parts are rounded alike, into memory of the same columns.
func (p *part) alike(q *part) bool {
	a, b := p.expert, q.expert
	return a.Gate.Format.Interleaved() == b.Gate.Format.Interleaved() &&
		a.Gate.Cols == b.Gate.Cols && a.Down.Cols == b.Down.Cols
}

// runWave computes some parts.
func (w *Work) runWave(parts []part) {
	w.wave = parts
	w.place()
	last, alone := &parts[len(parts)-1], multiplications(parts) <= aloneWork
	w.run(last.copied, (*gathering)(w), alone)
	w.run(last.gating.end, (*gating)(w), alone)
	if last.rounded {
		w.run(last.copied, (*rounding)(w), alone)
	}
	w.run(last.down.end, (*scaling)(w), alone)
}

// aloneWork is up to how many multiplications a wave is left to the thread that has it: some
// microseconds. To wake others takes as long, three times over, and they would then have the
// processor that whoever waits for the answer wakes up on.
const aloneWork = 128 << 10

// multiplications is how many the matrices of a wave take.
func multiplications(parts []part) (sum int) {
	for i := range parts {
		p := &parts[i]
		sum += 3 * len(p.rows) * p.expert.Gate.Rows * p.expert.Gate.Cols
	}
	return sum
}

// run does a job on the pool's threads, or alone on this one.
func (w *Work) run(items int, j kernels.Job, alone bool) {
	if !alone {
		w.pool.Run(items, j)
		return
	}
	for item := range items {
		j.Do(item, 0)
	}
}

// place cuts the wave into tiles and gives it memory.
func (w *Work) place() {
	var rows, inputs, middle, largest, copies, gatings, downs, rounded int
	for i := range w.wave {
		rows += len(w.wave[i].rows)
	}
	share, nodes := float64(rows)/float64(tilesPerThread*w.pool.Threads()), w.pool.Nodes()
	for i := range w.wave {
		p := &w.wave[i]
		n, gate, down := len(p.rows), &p.expert.Gate, &p.expert.Down
		p.rounded, p.at = gate.Format.Interleaved(), rounded
		p.packed = !p.rounded && kernels.Packs(n)
		p.gather = p.packed || p.rounded || !inOrder(p.rows)
		if p.gather {
			copies += (n + gatheredRows - 1) / gatheredRows
		}
		if p.rounded {
			rounded += n
		} else if p.gather {
			inputs += n * p.stride(gate.Cols)
		}
		p.copied = copies
		middle += n * p.stride(gate.Rows)
		p.gating, p.down = newTiling(n, gate, share, nodes), newTiling(n, down, share, nodes)
		gatings += p.gating.items()
		downs += p.down.items()
		p.gating.end, p.down.end = gatings, downs
		largest = max(largest, p.gating.numbers(), p.down.numbers())
	}
	w.inputs, w.middle = sized(w.inputs, inputs), sized(w.middle, middle)
	w.roundedInputs.Reserve(rounded, w.wave[0].expert.Gate.Cols)
	w.roundedMiddle.Reserve(rounded, w.wave[0].expert.Down.Cols)
	inputs, middle = 0, 0
	for i := range w.wave {
		p := &w.wave[i]
		n, hidden, width := len(p.rows), p.expert.Gate.Cols, p.expert.Gate.Rows
		p.x = w.x[int(p.rows[0])*hidden:]
		if p.gather && !p.rounded {
			p.x = w.inputs[inputs:]
			inputs += n * p.stride(hidden)
		}
		p.middle = w.middle[middle:]
		middle += n * p.stride(width)
	}
	for len(w.tiles) < w.pool.Threads() {
		w.tiles = append(w.tiles, tile{})
	}
	for i := range w.tiles {
		t := &w.tiles[i]
		t.a, t.b = sized(t.a, largest), sized(t.b, largest)
	}
}

// stride is how many numbers a row of so many takes.
func (p *part) stride(cols int) int {
	if p.packed {
		return kernels.Packing{Tokens: 1, Cols: cols}.Len()
	}
	return cols
}

// inOrder reports whether the rows follow one another, so that they can be read
// where they are.
func inOrder(rows []uint32) bool {
	for i, r := range rows {
		if r != rows[0]+uint32(i) {
			return false
		}
	}
	return true
}

// newTiling cuts the product of n tokens with a matrix into tiles that are at most
// as much work as share tokens with all of it.
func newTiling(n int, m *kernels.Matrix, share float64, nodes int) tiling {
	tokens, rows := kernels.Tile(n, m)
	rows = min(rows, int(share*float64(m.Rows)/float64(tokens)))
	return tiling{
		tokens: tokens, tokenTiles: (n + tokens - 1) / tokens, cut: kernels.NewCut(m, rows, nodes),
	}
}

func (t *tiling) items() int { return t.tokenTiles * t.cut.Tiles() }

// numbers is how many a tile's outputs are at most.
func (t *tiling) numbers() int { return t.tokens * t.cut.Most() }

// at returns the tokens and the rows of the weights that are an item.
func (t *tiling) at(item, n int) (token, tokens, lo, hi int) {
	token = item % t.tokenTiles * t.tokens
	lo, hi = t.cut.Tile(item / t.tokenTiles)
	return token, min(t.tokens, n-token), lo, hi
}

// packing returns how the tile of tokens that a token is in is packed, and where it begins.
func (t *tiling) packing(x []float32, token, n, cols int) (
	p kernels.Packing, first int, tile []float32) {
	first = token / t.tokens * t.tokens
	p = kernels.Packing{Tokens: min(t.tokens, n-first), Cols: cols}
	return p, first, x[first*(p.Len()/p.Tokens):]
}

// put writes columns of a token, from one on, to inputs or middles that are packed.
func (t *tiling) put(x []float32, token, n, cols, from int, row []float32) {
	p, first, tile := t.packing(x, token, n, cols)
	p.Put(tile, token-first, from, row)
}

// gatheredRows is how many rows an item of gathering has.
const gatheredRows = 32

// gathering is the job that fills the inputs of the wave: an item is some of a part's.
type gathering Work

func (w *gathering) Do(item, _ int) {
	i, from := find(w.wave, item, func(p *part) int { return p.copied })
	p := &w.wave[i]
	hidden, n := p.expert.Gate.Cols, len(p.rows)
	for j := (item - from) * gatheredRows; j < min((item-from+1)*gatheredRows, n); j++ {
		row := w.x[int(p.rows[j])*hidden:][:hidden]
		switch {
		case p.rounded:
			w.roundedInputs.Round(p.at+j, row)
		case p.packed:
			p.gating.put(p.x, j, n, hidden, 0, row)
		default:
			copy(p.x[j*hidden:], row)
		}
	}
}

// rounding is the job that rounds the middles of the wave; items are those of gathering.
type rounding Work

func (w *rounding) Do(item, _ int) {
	i, from := find(w.wave, item, func(p *part) int { return p.copied })
	p := &w.wave[i]
	width, n := p.expert.Down.Cols, len(p.rows)
	for j := (item - from) * gatheredRows; j < min((item-from+1)*gatheredRows, n); j++ {
		w.roundedMiddle.Round(p.at+j, p.middle[j*width:][:width])
	}
}

// gating is the job of the first halves: an item is a tile of act(Gate x, Up x).
type gating Work

// Segments and End make each expert's tiles a segment of the job: a memory node then
// takes the same rows of an expert whichever others are asked with it.
func (w *gating) Segments() int { return len(w.wave) }
func (w *gating) End(i int) int { return w.wave[i].gating.end }

func (w *gating) Do(item, thread int) {
	i, from := find(w.wave, item, func(p *part) int { return p.gating.end })
	p := &w.wave[i]
	gate, up, mem := &p.expert.Gate, &p.expert.Up, &w.tiles[thread]
	token, n, lo, hi := p.gating.at(item-from, len(p.rows))
	rows := hi - lo
	upRows := up.Slice(lo, hi)
	p.mul(mem.a, p.x, &w.roundedInputs, token, n, gate.Slice(lo, hi), &upRows)
	p.mul(mem.b, p.x, &w.roundedInputs, token, n, upRows, nil)
	for t := range n {
		a, b := mem.a[t*rows:][:rows], mem.b[t*rows:][:rows]
		if p.packed {
			Activate(w.activation, a, a, b)
			p.down.put(p.middle, token+t, len(p.rows), gate.Rows, lo, a)
		} else {
			Activate(w.activation, p.middle[(token+t)*gate.Rows:][lo:hi], a, b)
		}
	}
}

// mul computes a tile of n tokens, which are inputs or middles of the part: those of the wave that
// are rounded, or x.
func (p *part) mul(dst, x []float32, r *kernels.Rounded, token, n int, m kernels.Matrix,
	next *kernels.Matrix) {
	if p.rounded {
		kernels.MulRounded(dst, r, p.at+token, n, m, next)
		return
	}
	x = x[token*p.stride(m.Cols):]
	if p.packed {
		kernels.MulPacked(dst, x, n, m)
	} else {
		kernels.Mul(dst, x, n, m)
	}
}

// scaling is the job of the second halves: an item is a tile of g * Down middle.
type scaling Work

// Segments and End are as those of gating.
func (w *scaling) Segments() int { return len(w.wave) }
func (w *scaling) End(i int) int { return w.wave[i].down.end }

func (w *scaling) Do(item, thread int) {
	i, from := find(w.wave, item, func(p *part) int { return p.down.end })
	p := &w.wave[i]
	down, y := &p.expert.Down, w.tiles[thread].a
	token, n, lo, hi := p.down.at(item-from, len(p.rows))
	p.mul(y, p.middle, &w.roundedMiddle, token, n, down.Slice(lo, hi), nil)
	rows := hi - lo
	for t := range n {
		out, g := y[t*rows:][:rows], p.weights[token+t]
		kernels.Scale(out, g)
		w.sink.Put(p.first+token+t, lo, out)
	}
}

// find returns the part that has an item, and its first item.
func find(parts []part, item int, end func(*part) int) (i, from int) {
	lo, hi := 0, len(parts)
	for lo < hi {
		if i = int(uint(lo+hi) / 2); end(&parts[i]) > item {
			hi = i
		} else {
			lo = i + 1
		}
	}
	if lo > 0 {
		from = end(&parts[lo-1])
	}
	return lo, from
}
