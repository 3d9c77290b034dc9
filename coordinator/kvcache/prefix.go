package kvcache

import (
	"crypto/sha256"
	"encoding/binary"
)

// Identity is what keys and values depend on beside the tokens and the model.
type Identity struct {
	// Salt keeps sequences apart: pages are shared under an equal salt only.
	Salt string
	// Expanded is the number of positions that latent attention computes in its
	// expanded form: those below it. The two forms differ in rounding.
	Expanded int
}

// key names the content of a page: a hash of everything that its bits depend
// on. It is a cryptographic one, so that nobody can make two pages collide, and
// equal keys are equal contents.
type key [sha256.Size]byte

// root is the key in front of the first page.
func (id Identity) root() key { return sha256.Sum256(append([]byte("conclave kv 1 "), id.Salt...)) }

// next returns the key of page i, of the given tokens, behind the page of key k:
//
//	SHA-256(k, number of positions in the expanded form, tokens of the page)
func (k key) next(id Identity, i int, tokens []int32) key {
	var b [len(k) + 4 + 4*PageTokens]byte
	n := copy(b[:], k[:])
	expanded := min(max(id.Expanded-i*PageTokens, 0), PageTokens)
	binary.LittleEndian.PutUint32(b[n:], uint32(expanded))
	for j, t := range tokens[i*PageTokens : (i+1)*PageTokens] {
		binary.LittleEndian.PutUint32(b[n+4+4*j:], uint32(t))
	}
	return sha256.Sum256(b[:])
}

// node is where the pages of one content are found.
type node struct {
	key   key
	pages []*page // by group; nil where it was given up, or never was
	known int     // those that are not nil
}

// publish makes page i of s findable under s.key, or takes over the page that
// is there already.
func (c *Cache) publish(s *Sequence, i int) {
	n := c.index[s.key]
	if n == nil {
		n = &node{key: s.key, pages: make([]*page, len(c.groups))}
	}
	for g := range c.groups {
		own := s.page(g, i)
		if own == nil {
			continue
		}
		if known := n.pages[g]; known != nil {
			c.hold(known)
			s.tables[g].pages[i] = known
			c.drop(own)
			continue
		}
		n.pages[g], own.node = own, n
		n.known++
	}
	if n.known > 0 { // with windows alone all may have been given back already
		c.index[n.key] = n
	}
}

// forget makes a page unknown.
func (c *Cache) forget(p *page) {
	n := p.node
	p.node, n.pages[p.group] = nil, nil
	if n.known--; n.known == 0 {
		delete(c.index, n.key)
	}
}

// Match gives s, which has no pages, those that hold the longest known
// beginning of tokens, and returns the number of its positions: whole pages,
// and one token less than there are at most, since logits come from computing.
// It also says how the pages that s computes can be found: those of a sequence
// that was not matched cannot. Without tokens it does that alone. A sequence for
// which there is no room then has to be released: others cannot have what it
// holds.
func (c *Cache) Match(s *Sequence, id Identity, tokens []int32) int {
	if !c.cfg.Prefix {
		return 0
	}
	if s.tables == nil {
		s.tables = make([]table, len(c.groups))
	}
	s.findable, s.id, s.key = true, id, id.root()
	nodes := c.find(id, tokens)
	if s.final = len(nodes); s.final > 0 {
		s.key = nodes[s.final-1].key
	}
	done := s.final * PageTokens
	s.queried, s.hit = len(tokens), done
	for g, group := range c.groups {
		t, first := &s.tables[g], group.first(done)
		t.skip(first)
		for _, n := range nodes[min(first, len(nodes)):] {
			c.hold(n.pages[g])
			t.pages = append(t.pages, n.pages[g])
		}
	}
	return done
}

// find returns the longest known beginning of tokens: of every page those that
// a sequence behind the last of them needs are there. The result is valid until
// the next call.
func (c *Cache) find(id Identity, tokens []int32) []*node {
	c.found, c.runs = c.found[:0], c.runs[:0]
	for range c.groups {
		c.runs = append(c.runs, 0) // adjacent pages that are there, up to the last
	}
	best, k := 0, id.root()
	for i := range max(0, len(tokens)-1) / PageTokens {
		k = k.next(id, i, tokens)
		n := c.index[k]
		c.found = append(c.found, n)
		enough := n != nil // windows of one position would do without
		for g, group := range c.groups {
			if n == nil || n.pages[g] == nil {
				c.runs[g] = 0
			} else {
				c.runs[g]++
			}
			missing := c.runs[g] < i+1-group.first((i+1)*PageTokens)
			if missing && group.window == 0 {
				return c.found[:best] // it will be missing behind every later page
			}
			enough = enough && !missing
		}
		if enough {
			best = i + 1
		}
	}
	return c.found[:best]
}
