package kvcache

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/conclave-serve/conclave/kernels"
)

// life is one sequence of the property test.
type life struct {
	s      Sequence
	id     Identity
	tokens []int32
	done   int
}

// world is a cache, the sequences on it, and every list of tokens that there was.
type world struct {
	c     *Cache
	lives []*life
	past  []life
}

const testHead = 3

func newWorld(t *rapid.T) *world {
	cfg := Config{
		Windows: rapid.SampledFrom([][]int{
			{0, 0}, {40}, {1}, {1, 40}, {40, 0, 40, 0}, {0, 70, 70, 70}, {40, 0, 0, 70, 40, 0},
		}).Draw(t, "windows"),
		Keys: 2 * testHead, KeyHead: testHead, Values: 2 * testHead, ValueHead: testHead,
		Format: rapid.SampledFrom([]kernels.Format{kernels.F32, kernels.BF16, kernels.I8}).Draw(t, "format"),
		Step:   50, Prefix: rapid.IntRange(0, 9).Draw(t, "prefix") > 0, Bytes: 1 << 20,
	}
	probe, err := New(cfg) // to learn the size of a block
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	blocks := probe.blocks(rapid.IntRange(1, 40).Draw(t, "pages"))
	cfg.Bytes = int64(blocks) * probe.layout.bytes()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Stats().Total; got != blocks {
		t.Fatalf("%d blocks, want %d", got, blocks)
	}
	return &world{c: c}
}

// content is what position pos of l has in a layer, by its tokens up to there
// and its form: small integers, which every format holds exactly beside 127.
func (l *life) content(layer, pos int) []float32 {
	h := uint32(2166136261)
	add := func(x uint32) { h = (h ^ x) * 16777619 }
	for _, b := range []byte(l.id.Salt) {
		add(uint32(b))
	}
	for p, token := range l.tokens[:pos+1] {
		add(uint32(token))
		if p < l.id.Expanded {
			add(1 << 20)
		}
	}
	add(uint32(layer))
	out := make([]float32, 4*testHead)
	for i := range out {
		add(uint32(i))
		out[i] = float32(h >> 25)
		if i%testHead == 0 {
			out[i] = 127
		}
	}
	return out
}

// begin starts a sequence that goes along with an earlier one for a while.
func (w *world) begin(t *rapid.T) {
	l := &life{id: Identity{
		Salt:     rapid.SampledFrom([]string{"", "", "", "salt"}).Draw(t, "salt"),
		Expanded: rapid.SampledFrom([]int{0, 0, 64, 70}).Draw(t, "expanded"),
	}}
	if len(w.past) > 0 {
		from := w.past[rapid.IntRange(0, len(w.past)-1).Draw(t, "of")]
		l.id = rapid.SampledFrom([]Identity{from.id, l.id}).Draw(t, "identity")
		l.tokens = append(l.tokens, from.tokens[:min(len(from.tokens), rapid.IntRange(0, 400).Draw(t, "alike"))]...)
	}
	for n := rapid.IntRange(1, 200).Draw(t, "tokens"); n > 0; n-- {
		l.tokens = append(l.tokens, int32(len(w.past)+n%7)) // another tail each time
	}
	l.tokens = l.tokens[:min(len(l.tokens), w.c.Tokens())]
	want := w.longest(l)
	if rapid.IntRange(0, 9).Draw(t, "match") > 0 {
		if l.done = w.c.Match(&l.s, l.id, l.tokens); l.done != want {
			t.Fatalf("%d of %d positions matched, want %d", l.done, len(l.tokens), want)
		}
	}
	w.past, w.lives = append(w.past, *l), append(w.lives, l)
	w.past[len(w.past)-1].s = Sequence{}
}

// longest is what Match has to find, by trying every length.
func (w *world) longest(l *life) int {
	if !w.c.cfg.Prefix {
		return 0
	}
	for pages := max(0, len(l.tokens)-1) / PageTokens; pages > 0; pages-- {
		k, ok := l.id.root(), true
		for i := range pages {
			k = k.next(l.id, i, l.tokens)
			n := w.c.index[k]
			ok = ok && (n != nil || i < pages-1)
			for g, group := range w.c.groups {
				if i >= group.first(pages*PageTokens) {
					ok = ok && n != nil && n.pages[g] != nil
				}
			}
		}
		if ok {
			return pages * PageTokens
		}
	}
	return 0
}

// advance computes some positions of l, of which the last may turn out wrong.
func (w *world) advance(t *rapid.T, l *life) {
	n := min(len(l.tokens), l.done+min(50, rapid.IntRange(1, 150).Draw(t, "positions")))
	room := n
	if rapid.Bool().Draw(t, "reserve") {
		room = len(l.tokens)
	}
	before := w.c.Stats()
	if !w.c.Grow(&l.s, l.done, room) {
		if after := w.c.Stats(); after != before {
			t.Fatalf("a refused Grow changed %+v to %+v", before, after)
		}
		if len(w.lives) == 1 {
			t.Fatalf("no room for %d positions of a sequence alone in a cache of %d", room, w.c.Tokens())
		}
		return
	}
	right := max(l.done, n-max(0, rapid.IntRange(-100, 50).Draw(t, "wrong")))
	for layer := range w.c.cfg.Windows {
		for pos := l.done; pos < n; pos++ {
			x := l.content(layer, pos)
			if pos >= right {
				x = make([]float32, len(x)) // speculation that comes to nothing
			}
			w.c.Put(&l.s, layer, pos, x[:2*testHead], x[2*testHead:])
		}
	}
	l.done = right
	w.c.Advance(&l.s, l.tokens, l.done)
}

// read holds what l can reach to what it wrote, or would have written.
func (w *world) read(t *rapid.T, l *life) {
	got := make([]float32, 4*testHead)
	for layer, window := range w.c.cfg.Windows {
		pos := 0
		if window > 0 {
			pos = max(0, l.done+1-window)
		}
		for ; pos < l.done; pos++ {
			for head := range 2 {
				keys, values := w.c.Page(&l.s, layer, head, pos/PageTokens)
				keys.Decode(got[head*testHead:(head+1)*testHead], pos%PageTokens)
				values.Decode(got[(2+head)*testHead:(3+head)*testHead], pos%PageTokens)
			}
			if want := l.content(layer, pos); !slices.Equal(got, want) {
				t.Fatalf("layer %d position %d of %d reads %v, want %v", layer, pos, l.done, got, want)
			}
		}
	}
}

// check holds the cache to its invariants.
func (w *world) check(t *rapid.T) {
	c := w.c
	owners := map[int32]string{}
	own := func(who string, blocks []int32) {
		for _, b := range blocks {
			if owners[b] != "" {
				t.Fatalf("block %d belongs to %s and to %s", b, owners[b], who)
			}
			owners[b] = who
		}
	}
	own("the free list", c.free)
	refs, used, cached := map[*page]int{}, 0, 0
	for _, l := range w.lives {
		for g := range l.s.tables {
			held := 0
			for i, p := range l.s.tables[g].pages {
				if p == nil {
					continue
				}
				held++
				if refs[p]++; refs[p] == 1 {
					own(fmt.Sprintf("page %d", i), p.blocks)
					used += len(p.blocks)
				} else if p.node == nil {
					t.Fatal("a page that is not final is shared")
				}
			}
			if most := c.groups[g].most(1<<20, c.cfg.Step); held > most {
				t.Fatalf("%d pages in a group of window %d", held, c.groups[g].window)
			}
		}
	}
	for p := c.cached.ends.newer; p != &c.cached.ends; p = p.newer {
		own("a cached page", p.blocks)
		cached += len(p.blocks)
		if refs[p] != 0 || p.node == nil {
			t.Fatalf("a cached page has %d holders, node %v", refs[p], p.node)
		}
	}
	for p, n := range refs {
		if p.refs != n || p.node != nil && c.index[p.node.key].pages[p.group] != p {
			t.Fatalf("a page with %d holders counts %d, or is not found", n, p.refs)
		}
	}
	s := c.Stats()
	if s.Used != used || s.Cached != cached || len(owners) != s.Total || len(c.free)+used+cached != s.Total {
		t.Fatalf("%+v, but sequences hold %d and %d are cached, %d free", s, used, cached, len(c.free))
	}
	w.checkIndex(t)
}

// checkIndex: nodes have pages, and in front of a page that is known all are,
// in the layers that see all.
func (w *world) checkIndex(t *rapid.T) {
	all := len(w.c.groups) - 1
	for k, n := range w.c.index {
		known := 0
		for g, p := range n.pages {
			if p != nil {
				known++
				if p.node != n || p.group != g {
					t.Fatal("a page is found where it is not")
				}
			}
		}
		if known == 0 || known != n.known || n.key != k {
			t.Fatalf("a node counts %d pages and has %d", n.known, known)
		}
	}
	if w.c.groups[all].window > 0 {
		return
	}
	for _, l := range w.past {
		k, broken := l.id.root(), false
		for i := range len(l.tokens) / PageTokens {
			k = k.next(l.id, i, l.tokens)
			n := w.c.index[k]
			if n != nil && (broken || n.pages[all] == nil) {
				t.Fatalf("page %d is known, one in front of it is not", i)
			}
			broken = n == nil
		}
	}
}

// Whatever sequences come, go and begin alike: no block has two owners, none is
// lost, what a sequence reads is what it wrote or what an equal one wrote, and
// a match is the longest that there is.
func TestRandomLives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		defer w.c.Close()
		for range rapid.IntRange(1, 60).Draw(t, "operations") {
			op := rapid.IntRange(0, 15).Draw(t, "operation")
			if op < 2 || len(w.lives) == 0 {
				w.begin(t)
				w.check(t)
				continue
			}
			i := rapid.IntRange(0, len(w.lives)-1).Draw(t, "sequence")
			if l := w.lives[i]; op < 4 {
				w.c.Release(&l.s)
				w.lives = slices.Delete(w.lives, i, i+1)
			} else {
				w.advance(t, l)
				w.read(t, l)
			}
			w.check(t)
		}
		for _, l := range w.lives {
			w.read(t, l)
			w.c.Release(&l.s)
		}
		w.lives = nil
		w.check(t)
		if s := w.c.Stats(); s.Used != 0 || s.Hit > s.Queried || !w.c.cfg.Prefix && s.Cached != 0 {
			t.Fatalf("at the end: %+v", s)
		}
	})
}
