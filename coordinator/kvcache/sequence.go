package kvcache

// Sequence is the pages of one sequence. The zero value has none. It must not
// be copied once it has some.
type Sequence struct {
	tables []table // by group

	findable bool // its pages become so; Match says how
	id       Identity
	key      key // of page final-1
	final    int // pages that are findable
	// What Match was asked for and found, until it is counted.
	queried, hit int
}

// table is the pages of a sequence in one group: pages[i] for i from first on.
type table struct {
	pages []*page
	first int
}

// Grow makes room for positions 0 to n-1 of s, of which 0 to done-1 are
// computed: in layers that see all for every position, in those with a window
// for the ones that they reach from position done on, as far as one step goes.
// Cached pages make way, those first that were cached first. Where that is not
// enough, Grow takes nothing and returns false.
func (c *Cache) Grow(s *Sequence, done, n int) bool {
	if s.tables == nil {
		s.tables = make([]table, len(c.groups))
	}
	need := 0
	for g, group := range c.groups {
		end := group.end(done, n, c.cfg.Step)
		need += group.columns * max(0, end-s.tables[g].from(group.first(done)))
	}
	if !c.room(need) {
		return false
	}
	for g, group := range c.groups {
		t, end := &s.tables[g], group.end(done, n, c.cfg.Step)
		if from := t.from(group.first(done)); from < end {
			t.skip(from)
			for range end - from {
				t.pages = append(t.pages, c.take(g))
			}
		}
	}
	c.stats.Queried += int64(s.queried)
	c.stats.Hit += int64(s.hit)
	s.queried, s.hit = 0, 0
	return true
}

// from is the first page from page first on that the table has not.
func (t *table) from(first int) int { return max(first, len(t.pages)) }

// skip leaves the pages up to page first out, of a table that has none of them.
func (t *table) skip(first int) {
	if len(t.pages) == 0 {
		t.first = first
	}
	for len(t.pages) < first {
		t.pages = append(t.pages, nil)
	}
}

// Advance says that the positions of s below done are final, and that tokens
// are theirs: full pages can be found from now on, and pages that no window
// reaches any more are given back. It reports whether there are pages that can
// be found since: sequences that begin alike need fewer of their own.
func (c *Cache) Advance(s *Sequence, tokens []int32, done int) (found bool) {
	for s.findable && (s.final+1)*PageTokens <= done {
		s.key = s.key.next(s.id, s.final, tokens)
		c.publish(s, s.final)
		s.final++
		found = true
	}
	for g := range s.tables {
		t := &s.tables[g]
		for end := min(c.groups[g].first(done), len(t.pages)); t.first < end; t.first++ {
			if p := t.pages[t.first]; p != nil {
				c.drop(p)
				t.pages[t.first] = nil
			}
		}
	}
	return found
}

// Release gives all pages of s back. Those that can be found stay, as cached,
// until their memory is needed: the last of them first.
func (c *Cache) Release(s *Sequence) {
	last := 0
	for g := range s.tables {
		last = max(last, len(s.tables[g].pages))
	}
	for i := last - 1; i >= 0; i-- {
		for g := range s.tables {
			if p := s.page(g, i); p != nil {
				c.drop(p)
			}
		}
	}
	for g := range s.tables {
		clear(s.tables[g].pages)
		s.tables[g] = table{pages: s.tables[g].pages[:0]}
	}
	*s = Sequence{tables: s.tables}
}

// page returns page i of a group, nil if s does not hold it.
func (s *Sequence) page(group, i int) *page {
	if t := &s.tables[group]; i < len(t.pages) {
		return t.pages[i]
	}
	return nil
}
