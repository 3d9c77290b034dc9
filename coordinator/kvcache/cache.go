package kvcache

import "fmt"

// PageTokens is the number of positions in a page. Smaller pages waste less
// at the end of a sequence, larger ones make longer runs for the kernels; it
// is part of the numbers, because attention reduces page by page.
const PageTokens = 32

// Config sizes a cache.
type Config struct {
	// Layers and Width are the attention layers of the model and the values
	// of one position's keys (and as many of its values) in one layer.
	Layers, Width int
	// Bytes bounds the memory; at least one page must fit.
	Bytes int64
}

// Cache is the pages.
type Cache struct {
	layers, width int
	memory        []float32
	release       func() error
	free          []int32
	total         int
}

// New takes the memory of a cache.
func New(cfg Config) (*Cache, error) {
	if cfg.Layers <= 0 || cfg.Width <= 0 {
		return nil, fmt.Errorf("kv cache: %d layers of width %d", cfg.Layers, cfg.Width)
	}
	page := int64(cfg.Layers) * 2 * PageTokens * int64(cfg.Width)
	total := min(cfg.Bytes/(4*page), 1<<30)
	if total < 1 {
		return nil, fmt.Errorf("kv cache: %d bytes hold no page of %d positions, which takes %d bytes",
			cfg.Bytes, PageTokens, 4*page)
	}
	memory, release, err := allocate(total * page)
	if err != nil {
		return nil, fmt.Errorf("kv cache: take %d bytes: %w", 4*total*page, err)
	}
	c := &Cache{
		layers: cfg.Layers, width: cfg.Width, memory: memory, release: release, total: int(total),
	}
	c.free = make([]int32, total)
	for i := range c.free {
		c.free[i] = int32(int(total) - 1 - i)
	}
	return c, nil
}

// Close gives the memory back. No sequence may be used afterwards.
func (c *Cache) Close() error { return c.release() }

// Pages returns how many pages there are and how many are in use.
func (c *Cache) Pages() (total, used int) { return c.total, c.total - len(c.free) }

// Tokens is the number of positions that the whole cache holds.
func (c *Cache) Tokens() int { return c.total * PageTokens }

// Sequence is the pages of one sequence, in the order of its positions. The
// zero value has none.
type Sequence struct{ pages []int32 }

// Grow makes room for the first n positions of s. It takes nothing and
// returns false if there are too few free pages.
func (c *Cache) Grow(s *Sequence, n int) bool {
	need := (n+PageTokens-1)/PageTokens - len(s.pages)
	if need > len(c.free) {
		return false
	}
	for ; need > 0; need-- {
		last := len(c.free) - 1
		s.pages = append(s.pages, c.free[last])
		c.free = c.free[:last]
	}
	return true
}

// Release gives all pages of s back.
func (c *Cache) Release(s *Sequence) {
	c.free = append(c.free, s.pages...)
	s.pages = s.pages[:0]
}

// Page returns the keys and values of page i of s in a layer, each
// [PageTokens, width] f32.
func (c *Cache) Page(s *Sequence, layer, i int) (keys, values []float32) {
	n := PageTokens * c.width
	at := (int(s.pages[i])*c.layers + layer) * 2 * n
	return c.memory[at : at+n], c.memory[at+n : at+2*n]
}

// At returns the key and the value of one position of s in a layer, each of
// width values.
func (c *Cache) At(s *Sequence, layer, pos int) (key, value []float32) {
	keys, values := c.Page(s, layer, pos/PageTokens)
	at := pos % PageTokens * c.width
	return keys[at : at+c.width], values[at : at+c.width]
}
