package kvcache

// page is the memory of a run of positions in the layers of one group.
type page struct {
	group  int
	blocks []int32 // one for each column of the group
	refs   int     // sequences that hold it
	node   *node   // where it is found; nil while its positions are not final

	older, newer *page // in the list of cached pages, while refs is 0
}

// list is the cached pages in the order in which they were cached.
type list struct{ ends page }

func (l *list) init() { l.ends.older, l.ends.newer = &l.ends, &l.ends }

func (l *list) add(p *page) {
	p.older, p.newer = l.ends.older, &l.ends
	p.older.newer, p.newer.older = p, p
}

func (l *list) remove(p *page) {
	p.older.newer, p.newer.older = p.newer, p.older
	p.older, p.newer = nil, nil
}

// room makes n blocks free, at the cost of the pages cached first. It does
// nothing and returns false if there are too few.
func (c *Cache) room(n int) bool {
	if n > len(c.free)+c.stats.Cached {
		return false
	}
	for len(c.free) < n {
		p := c.cached.ends.newer
		c.cached.remove(p)
		c.stats.Cached -= len(p.blocks)
		c.stats.Evicted += int64(len(p.blocks))
		c.forget(p)
		c.scrap(p)
	}
	return true
}

// take returns a new page of a group, held once; room has been made.
func (c *Cache) take(group int) *page {
	var p *page
	if spare := c.spare[group]; len(spare) > 0 {
		p = spare[len(spare)-1]
		c.spare[group] = spare[:len(spare)-1]
	} else {
		p = &page{group: group, blocks: make([]int32, c.groups[group].columns)}
	}
	left := len(c.free) - len(p.blocks)
	copy(p.blocks, c.free[left:])
	c.free = c.free[:left]
	p.refs = 1
	return p
}

// hold adds a holder to a page that is findable.
func (c *Cache) hold(p *page) {
	if p.refs == 0 {
		c.cached.remove(p)
		c.stats.Cached -= len(p.blocks)
	}
	p.refs++
}

// drop takes a holder from a page: one that is findable is cached without any.
func (c *Cache) drop(p *page) {
	p.refs--
	switch {
	case p.refs > 0:
	case p.node != nil:
		c.cached.add(p)
		c.stats.Cached += len(p.blocks)
	default:
		c.scrap(p)
	}
}

// scrap gives the blocks of a page back that nobody holds or finds.
func (c *Cache) scrap(p *page) {
	c.free = append(c.free, p.blocks...)
	c.spare[p.group] = append(c.spare[p.group], p)
}
