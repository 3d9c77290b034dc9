package kvcache

import (
	"cmp"
	"slices"

	"github.com/conclave-serve/conclave/kernels"
)

// group is the layers that attend through one window. They are divided into
// columns of equal size, the same for all groups.
type group struct {
	window  int // 0: they see all
	columns int
}

// place is where a layer's numbers are: in which group, in which of its
// columns, and in which part of the column's block.
type place struct{ group, column, part int }

// divide sorts the layers into groups and columns, and returns the number of
// layers of a column: the largest that divides every group.
func (c *Cache) divide() (perBlock int) {
	counts := map[int]int{}
	for _, w := range c.cfg.Windows {
		counts[w]++
	}
	for w, n := range counts {
		c.groups = append(c.groups, group{window: w, columns: n})
		perBlock = gcd(perBlock, n)
	}
	slices.SortFunc(c.groups, func(a, b group) int { // the one that sees all comes last
		return cmp.Compare(uint(a.window-1), uint(b.window-1))
	})
	for g := range c.groups {
		c.groups[g].columns /= perBlock
	}
	seen := make([]int, len(c.groups))
	for _, w := range c.cfg.Windows {
		g := slices.IndexFunc(c.groups, func(g group) bool { return g.window == w })
		c.places = append(c.places, place{g, seen[g] / perBlock, seen[g] % perBlock})
		seen[g]++
	}
	c.spare = make([][]*page, len(c.groups))
	return perBlock
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// first is the first page that the group reaches from position pos on.
func (g group) first(pos int) int {
	if g.window == 0 {
		return 0
	}
	return max(0, pos+1-g.window) / PageTokens
}

// end is the page behind the last that a sequence of n positions needs, of
// which done are computed.
func (g group) end(done, n, step int) int {
	if g.window > 0 {
		n = min(n, done+step)
	}
	return (n + PageTokens - 1) / PageTokens
}

// most is the number of pages that a sequence of n pages may need at once.
func (g group) most(n, step int) int {
	if g.window == 0 {
		return n
	}
	return min(n, (g.window+step-1+2*PageTokens-2)/PageTokens)
}

// blocks is the number of blocks that a sequence of n pages may need at once.
func (c *Cache) blocks(n int) int {
	sum := 0
	for _, g := range c.groups {
		sum += g.columns * g.most(n, c.cfg.Step)
	}
	return sum
}

// layout is how the numbers of a page lie in a block: by layer, keys and then
// values, by head, by position. A head of a page is one run of memory.
type layout struct {
	format             kernels.Format
	keyHeads, valHeads int
	key, value         int // bytes of one head of one position
	layer, block       int // bytes
	// Scales of a layer and of a block: of keys and then values, by head, by
	// position. None but in I8.
	layerScales, blockScales int
}

func newLayout(cfg Config, perBlock int) layout {
	f := cfg.Format
	l := layout{
		format: f, keyHeads: cfg.Keys / cfg.KeyHead, valHeads: cfg.Values / cfg.ValueHead,
		key: f.Bytes(cfg.KeyHead), value: f.Bytes(cfg.ValueHead),
	}
	l.layer = PageTokens * (l.keyHeads*l.key + l.valHeads*l.value)
	if f == kernels.I8 {
		l.layerScales = PageTokens * (l.keyHeads + l.valHeads)
	}
	l.block, l.blockScales = perBlock*l.layer, perBlock*l.layerScales
	return l
}

// bytes is what a block takes in all.
func (l *layout) bytes() int64 { return int64(l.block) + 4*int64(l.blockScales) }

// head returns where the positions of a head begin in a page's layer, in bytes
// and in scales: heads of keys come first, then those of values.
func (l *layout) head(i int) (at, scale int) {
	if i < l.keyHeads {
		return PageTokens * i * l.key, PageTokens * i
	}
	return PageTokens * (l.keyHeads*l.key + (i-l.keyHeads)*l.value), PageTokens * i
}

// at returns the numbers and the scales of a page in a layer.
func (c *Cache) at(p *page, place place) (data []byte, scales []float32) {
	l := &c.layout
	block, part := int(p.blocks[place.column]), place.part
	at, scale := block*l.block+part*l.layer, block*l.blockScales+part*l.layerScales
	return c.data[at : at+l.layer], c.scales[scale : scale+l.layerScales]
}

// Put stores the keys [Keys] and values [Values] of one position of s in a
// layer, which rounds them to the cache's format.
func (c *Cache) Put(s *Sequence, layer, pos int, keys, values []float32) {
	place, l := c.places[layer], &c.layout
	p := s.tables[place.group].pages[pos/PageTokens]
	if p.node != nil {
		panic("kvcache: Put at a position that is final")
	}
	data, scales := c.at(p, place)
	j := pos % PageTokens
	put := func(head, bytes int, x []float32) {
		at, scale := l.head(head)
		got := kernels.EncodeCached(data[at+j*bytes:at+(j+1)*bytes], x, l.format)
		if l.format == kernels.I8 {
			scales[scale+j] = got
		}
	}
	for h := range l.keyHeads {
		put(h, l.key, keys[h*c.cfg.KeyHead:(h+1)*c.cfg.KeyHead])
	}
	for h := range l.valHeads {
		put(l.keyHeads+h, l.value, values[h*c.cfg.ValueHead:(h+1)*c.cfg.ValueHead])
	}
}

// Page returns the keys and values of one head over page i of s in a layer.
// Where values are part of the keys both are the same.
func (c *Cache) Page(s *Sequence, layer, head, i int) (keys, values kernels.Cached) {
	place, l := c.places[layer], &c.layout
	data, scales := c.at(s.tables[place.group].pages[i], place)
	view := func(head, bytes int) kernels.Cached {
		at, scale := l.head(head)
		v := kernels.Cached{Format: l.format, Data: data[at : at+PageTokens*bytes], Stride: bytes}
		if l.format == kernels.I8 {
			v.Scales, v.ScaleStride = scales[scale:scale+PageTokens], 1
		}
		return v
	}
	keys = view(head, l.key)
	if l.valHeads == 0 {
		return keys, keys
	}
	return keys, view(l.keyHeads+head, l.value)
}
