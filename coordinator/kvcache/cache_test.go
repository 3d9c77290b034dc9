package kvcache

import (
	"slices"
	"testing"

	"github.com/conclave-serve/conclave/kernels"
)

// open returns a cache of the given number of blocks.
func open(t testing.TB, cfg Config, blocks int) *Cache {
	t.Helper()
	cfg.Bytes = 1 << 24
	probe, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Bytes = int64(blocks) * probe.layout.bytes()
	probe.Close()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// compute takes a sequence from where Match left it to its end, by steps.
func compute(t testing.TB, c *Cache, s *Sequence, tokens []int32, done, step int) {
	t.Helper()
	for done < len(tokens) {
		if !c.Grow(s, done, len(tokens)) {
			t.Fatalf("no room at position %d of %d: %+v", done, len(tokens), c.Stats())
		}
		done = min(done+step, len(tokens))
		c.Advance(s, tokens, done)
	}
}

// count returns tokens from, from+1, ….
func count(from int32, n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = from + int32(i)
	}
	return out
}

// gptOSS is every other layer with a window of 128, as gpt-oss-20b has them.
func gptOSS(step int) Config {
	windows := make([]int, 24)
	for l := 0; l < len(windows); l += 2 {
		windows[l] = 128
	}
	return Config{Windows: windows, Keys: 8, Values: 8, Step: step, Prefix: true}
}

// Layers with a window cost their window: a long sequence of a model that has
// one in every other layer takes half of the memory, and a few pages.
func TestWindowsCostTheirWindow(t *testing.T) {
	const tokens = 8192
	full, half := gptOSS(256), gptOSS(256)
	full.Windows = make([]int, len(full.Windows))
	blocks := func(cfg Config) (int64, int) {
		c := open(t, cfg, 1000)
		var s Sequence
		c.Match(&s, Identity{}, nil)
		compute(t, c, &s, count(0, tokens), 0, cfg.Step)
		used := c.Stats().Used
		c.Release(&s)
		if got := c.Stats(); got.Used != 0 {
			t.Errorf("after the release: %+v", got)
		}
		return int64(used) * c.layout.bytes(), used
	}
	all, _ := blocks(full)
	windowed, used := blocks(half)
	if want := tokens/PageTokens + 128/PageTokens; used != want {
		t.Errorf("%d blocks, want %d", used, want)
	}
	if share := float64(windowed) / float64(all); share > .51 {
		t.Errorf("%.3f of the memory of a model without windows", share)
	}
}

// The cache holds a sequence of Tokens, step by step, and none that is longer.
func TestTokens(t *testing.T) {
	for _, blocks := range []int{2, 7, 24, 25, 40, 99} {
		cfg := gptOSS(100)
		cfg.Prefix = false
		c := open(t, cfg, blocks)
		var s Sequence
		compute(t, c, &s, count(0, c.Tokens()), 0, 100)
		if c.Grow(&s, c.Tokens(), c.Tokens()+1) && blocks < 24 {
			t.Errorf("%d blocks hold more than %d tokens", blocks, c.Tokens())
		}
		if used := c.Stats().Used; used > blocks {
			t.Errorf("%d of %d blocks", used, blocks)
		}
	}
}

func TestPrefixIsShared(t *testing.T) {
	c := open(t, Config{Windows: []int{0}, Keys: 2, Prefix: true}, 20)
	system := count(100, 3*PageTokens)
	with := func(from int32, n int) []int32 { return append(slices.Clone(system), count(from, n)...) }
	match := func(s *Sequence, id Identity, tokens []int32) int {
		done := c.Match(s, id, tokens)
		compute(t, c, s, tokens, done, 1000)
		return done
	}
	var a, b, d, e, f Sequence
	for _, step := range []struct {
		what   string
		s      *Sequence
		id     Identity
		tokens []int32
		want   int
	}{
		{"the first", &a, Identity{}, with(1000, 40), 0},
		{"another question", &b, Identity{}, with(2000, 10), 3 * PageTokens},
		{"the same again", &d, Identity{}, with(1000, 40), 4 * PageTokens},
		{"another salt", &e, Identity{Salt: "x"}, with(2000, 10), 0},
		{"another form", &f, Identity{Expanded: PageTokens}, with(2000, 10), 0},
	} {
		if got := match(step.s, step.id, step.tokens); got != step.want {
			t.Errorf("%s: %d positions, want %d", step.what, got, step.want)
		}
	}
	// a has 5 pages; b and d one each beside what they share; e and f 4 each.
	if s := c.Stats(); s.Used != 5+1+1+4+4 || s.Cached != 0 || s.Hit != 7*PageTokens {
		t.Errorf("%+v", s)
	}
	c.Release(&a)
	c.Release(&b)
	if s := c.Stats(); s.Used != 4+1+4+4 || s.Cached != 0 {
		t.Errorf("what d holds is in use: %+v", s)
	}
	c.Release(&d)
	if s := c.Stats(); s.Used != 8 || s.Cached != 4 {
		t.Errorf("what nobody holds is cached: %+v", s)
	}
}

// The last token is computed even if all are known, since its logits are
// wanted; a page that is not full is not shared.
func TestMatchLeavesOne(t *testing.T) {
	c := open(t, Config{Windows: []int{0}, Keys: 2, Prefix: true}, 20)
	tokens := count(0, 2*PageTokens+5)
	var s Sequence
	c.Match(&s, Identity{}, tokens)
	compute(t, c, &s, tokens, 0, 7)
	for n, want := range map[int]int{
		0: 0, 1: 0, PageTokens: 0, PageTokens + 1: PageTokens,
		2 * PageTokens: PageTokens, 2*PageTokens + 1: 2 * PageTokens, len(tokens): 2 * PageTokens,
	} {
		var other Sequence
		if got := c.Match(&other, Identity{}, tokens[:n]); got != want {
			t.Errorf("of %d tokens %d match, want %d", n, got, want)
		}
		c.Release(&other)
	}
	if s := c.Stats(); s.Queried != int64(len(tokens)) {
		t.Errorf("sequences that were never grown were counted: %+v", s)
	}
}

// Two sequences that compute the same at once end up with one copy.
func TestTwinsBecomeOne(t *testing.T) {
	c := open(t, gptOSS(64), 40)
	tokens := count(0, 10*PageTokens)
	var a, b Sequence
	for _, s := range []*Sequence{&a, &b} {
		c.Match(s, Identity{}, tokens)
		if !c.Grow(s, 0, len(tokens)) {
			t.Fatal("no room")
		}
	}
	used := c.Stats().Used
	c.Advance(&a, tokens, 64)
	c.Advance(&b, tokens, 64)
	if got := c.Stats().Used; got != used-2*2 {
		t.Errorf("%d blocks of %d are left, want two pages less in both groups", got, used)
	}
	c.Release(&a)
	c.Release(&b)
}

// Where memory is needed, what was cached first is forgotten first, and of a
// sequence the last pages: its beginning may be another's.
func TestForgetsTheOldest(t *testing.T) {
	c := open(t, Config{Windows: []int{0}, Keys: 2, Prefix: true}, 8)
	run := func(from int32, pages int) {
		var s Sequence
		tokens := count(from, pages*PageTokens+1)
		compute(t, c, &s, tokens, c.Match(&s, Identity{}, tokens), 1000)
		c.Release(&s)
	}
	known := func(from int32, pages int) int {
		return len(c.find(Identity{}, count(from, pages*PageTokens+1)))
	}
	run(1000, 3)
	run(2000, 3)
	run(1000, 3) // used again: 2000 is the older one now
	run(3000, 3) // 4 pages of which one is not full; 6 are cached and 2 are free
	if a, b, d := known(1000, 3), known(2000, 3), known(3000, 3); a != 3 || b != 1 || d != 3 {
		t.Errorf("%d, %d and %d pages are known, want 3, 1 and 3", a, b, d)
	}
	if s := c.Stats(); s.Evicted != 2 || s.Cached != 7 {
		t.Errorf("%+v", s)
	}
	run(4000, 7)
	if s := c.Stats(); s.Cached != 7 || known(4000, 7) != 7 || known(1000, 3) != 0 {
		t.Errorf("after one that takes it all: %+v", s)
	}
}

// In layers with a window a hit needs the pages that the window still reaches.
func TestWindowsOfAPrefix(t *testing.T) {
	c := open(t, gptOSS(256), 70)
	tokens := count(0, 30*PageTokens)
	var a Sequence
	c.Match(&a, Identity{}, tokens)
	compute(t, c, &a, tokens, 0, 256)
	c.Release(&a)
	windowed, full := 0, 1
	for _, n := range c.index { // leave the windows of the last eight pages
		if p := n.pages[windowed]; p != nil && slices.Index(tokens, n.at(c, tokens)) < 22*PageTokens {
			c.cached.remove(p)
			c.stats.Cached -= len(p.blocks)
			c.forget(p)
			c.scrap(p)
		}
	}
	for pages, want := range map[int]int{10: 0, 22: 0, 25: 0, 26: 26, 28: 28} {
		var s Sequence
		got := c.Match(&s, Identity{}, tokens[:pages*PageTokens+1])
		if got != want*PageTokens {
			t.Errorf("of %d pages %d positions are found, want %d pages", pages, got, want)
		}
		if got > 0 && (s.tables[windowed].first != want-4 || len(s.tables[full].pages) != want) {
			t.Errorf("pages from %d on with a window, %d without", s.tables[windowed].first, len(s.tables[full].pages))
		}
		c.Release(&s)
	}
}

// at returns the first token of the page that n is, of the sequence of tokens.
func (n *node) at(c *Cache, tokens []int32) int32 {
	k := Identity{}.root()
	for i := range len(tokens) / PageTokens {
		if k = k.next(Identity{}, i, tokens); k == n.key {
			return tokens[i*PageTokens]
		}
	}
	return -1
}

// A sequence that was not matched, or a cache that does not share, makes
// nothing known.
func TestUnmatchedIsNotShared(t *testing.T) {
	for _, prefix := range []bool{false, true} {
		c := open(t, Config{Windows: []int{0}, Keys: 2, Prefix: prefix}, 20)
		tokens := count(0, 100)
		var a, b Sequence
		if !prefix {
			c.Match(&a, Identity{}, tokens)
		}
		compute(t, c, &a, tokens, 0, 10)
		c.Release(&a)
		if got := c.Match(&b, Identity{}, tokens); got != 0 || c.Stats().Cached != 0 {
			t.Errorf("sharing %v: %d positions of a sequence that was not matched", prefix, got)
		}
	}
}

func TestPutRefusesFinalPositions(t *testing.T) {
	c := open(t, Config{Windows: []int{0}, Keys: 2, Prefix: true}, 20)
	tokens := count(0, 40)
	var s Sequence
	c.Match(&s, Identity{}, tokens)
	compute(t, c, &s, tokens, 0, 40)
	c.Put(&s, 0, 33, []float32{1, 2}, nil)
	defer func() {
		if recover() == nil {
			t.Error("a position that others may read was written")
		}
	}()
	c.Put(&s, 0, 31, []float32{1, 2}, nil)
}

// Formats take what they should: a gigabyte holds twice the positions in bf16,
// and all but four times in int8, whose scales take their part.
func TestFormats(t *testing.T) {
	tokens := map[kernels.Format]int{}
	for _, f := range []kernels.Format{kernels.F32, kernels.BF16, kernels.I8} {
		c, err := New(Config{
			Windows: make([]int, 48), Keys: 512, Values: 512, KeyHead: 128, ValueHead: 128, Format: f, Bytes: 1 << 30,
		})
		if err != nil {
			t.Fatal(err)
		}
		tokens[f] = c.Tokens()
		if got := int64(len(c.data)) + 4*int64(len(c.scales)); got > 1<<30 {
			t.Errorf("%v takes %d bytes", f, got)
		}
		c.Close()
	}
	f32, bf16, i8 := tokens[kernels.F32], tokens[kernels.BF16], tokens[kernels.I8]
	if per := 4 * 1024 * 48; f32 != 1<<30/per/PageTokens*PageTokens {
		t.Errorf("f32 holds %d positions of %d bytes", f32, per)
	}
	if bf16/PageTokens != 2*f32/PageTokens && bf16 != 2*f32+PageTokens {
		t.Errorf("bf16 holds %d positions, f32 %d", bf16, f32)
	}
	if per := (1024 + 4*8) * 48; i8 != 1<<30/per/PageTokens*PageTokens {
		t.Errorf("int8 holds %d positions of %d bytes", i8, per)
	}
}

func TestFormatNames(t *testing.T) {
	for _, name := range []string{"f32", "bf16", "int8"} {
		if f, err := ParseFormat(name); err != nil || FormatName(f) != name {
			t.Errorf("%s is read as %v: %v", name, f, err)
		}
	}
	if _, err := ParseFormat("fp8"); err == nil {
		t.Error("fp8 is no format of the cache")
	}
}

func TestNewRefuses(t *testing.T) {
	one := []int{0}
	for name, cfg := range map[string]Config{
		"nothing":               {},
		"too little memory":     {Windows: one, Keys: 1, Values: 1, Bytes: 255},
		"keys":                  {Windows: one, Keys: -1, Bytes: 1 << 20},
		"values":                {Windows: one, Keys: 2, Values: -1, Bytes: 1 << 20},
		"heads":                 {Windows: one, Keys: 6, KeyHead: 4, Bytes: 1 << 20},
		"heads of values":       {Windows: one, Keys: 6, KeyHead: 3, Values: 6, ValueHead: 2, Bytes: 1 << 20},
		"a head below nothing":  {Windows: one, Keys: 6, KeyHead: -3, Bytes: 1 << 20},
		"a format of weights":   {Windows: one, Keys: 6, Format: kernels.E4M3, Bytes: 1 << 20},
		"a window below 0":      {Windows: []int{-1}, Keys: 6, Step: 4, Bytes: 1 << 20},
		"a window and no steps": {Windows: []int{0, 8}, Keys: 6, Bytes: 1 << 20},
		"half a page":           {Windows: []int{0, 8}, Keys: 1, Step: 1, Bytes: 4 * PageTokens},
	} {
		if c, err := New(cfg); err == nil {
			t.Errorf("%s: %d blocks", name, c.total)
		}
	}
}

// BenchmarkMatch is the cost of finding a prompt of 8,192 tokens, all known.
func BenchmarkMatch(b *testing.B) {
	c := open(b, gptOSS(256), 1000)
	tokens := count(0, 8193)
	var s Sequence
	c.Match(&s, Identity{}, tokens)
	compute(b, c, &s, tokens, 0, 256)
	c.Release(&s)
	b.ReportAllocs()
	for b.Loop() {
		if c.Match(&s, Identity{}, tokens) != 8192 {
			b.Fatal("not found")
		}
		c.Release(&s)
	}
}
