package kvcache

import (
	"fmt"
	"sort"

	"github.com/conclave-serve/conclave/kernels"
)

// PageTokens is the number of positions in a page. Smaller pages waste less
// at the end of a sequence, larger ones make longer runs for the kernels; it
// is part of the numbers, because attention reduces page by page.
const PageTokens = 32

// maxBlocks keeps the number of a block in 32 bits.
const maxBlocks = 1 << 30

// Config sizes a cache.
type Config struct {
	// Windows has an entry for each layer: the number of latest positions that
	// it attends to, its own included; 0 for all.
	Windows []int
	// Keys and Values are the numbers that one position's keys and values take
	// in one layer. Values is 0 where they are part of the keys, as in latent
	// attention.
	Keys, Values int
	// KeyHead and ValueHead are the widths of one head, of which Keys and
	// Values hold equal numbers; 0 for one head.
	KeyHead, ValueHead int
	// Format is what numbers are stored as: F32 rounds nothing, BF16 takes
	// half of its memory, I8 a quarter and one scale for each position and head.
	Format kernels.Format
	// Bytes bounds the memory; it must hold at least one page of every group.
	Bytes int64
	// Step is the most positions that one step adds to a sequence. It is needed
	// where a layer has a window.
	Step int
	// Prefix shares the pages of sequences that begin alike.
	Prefix bool
}

// Cache is the pages.
type Cache struct {
	cfg    Config
	layout layout
	groups []group // those with a window first
	places []place // by layer

	data    []byte
	scales  []float32 // of I8
	release func() error

	total  int
	free   []int32   // blocks
	spare  [][]*page // by group: records of pages that have no blocks
	index  map[key]*node
	cached list
	stats  Stats

	found []*node // scratch of find
	runs  []int
}

// Stats counts the memory of a cache in blocks, a block being a page's share in
// one column of layers, and what sharing has brought.
type Stats struct {
	// Total blocks, those that sequences hold, and those that are kept because
	// they may be asked for again; the rest is free.
	Total, Used, Cached int
	// Queried is the number of tokens of all sequences that were matched and
	// then grown, Hit those of them that were found.
	Queried, Hit int64
	// Evicted counts the cached blocks that were given up for their memory.
	Evicted int64
}

// New takes the memory of a cache.
func New(cfg Config) (*Cache, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("kv cache: %w", err)
	}
	c := &Cache{cfg: cfg, index: map[key]*node{}}
	c.cached.init()
	perBlock := c.divide()
	c.layout = newLayout(cfg, perBlock)
	block := c.layout.bytes()
	total, least := min(cfg.Bytes/block, maxBlocks), int64(c.blocks(1))
	if total < least {
		return nil, fmt.Errorf("kv cache: %d bytes hold no page of %d positions, which takes %d bytes",
			cfg.Bytes, PageTokens, least*block)
	}
	data, scales := total*int64(c.layout.block), total*int64(c.layout.blockScales)
	var err error
	if c.data, c.scales, c.release, err = allocate(data, scales); err != nil {
		return nil, fmt.Errorf("kv cache: take %d bytes: %w", total*block, err)
	}
	c.total = int(total)
	c.free = make([]int32, total)
	for i := range c.free {
		c.free[i] = int32(c.total - 1 - i)
	}
	return c, nil
}

func (cfg *Config) setDefaults() error {
	if cfg.KeyHead == 0 {
		cfg.KeyHead = cfg.Keys
	}
	if cfg.ValueHead == 0 {
		cfg.ValueHead = max(cfg.Values, 1)
	}
	if len(cfg.Windows) == 0 || cfg.Keys <= 0 || cfg.Values < 0 {
		return fmt.Errorf("%d layers of width %d+%d", len(cfg.Windows), cfg.Keys, cfg.Values)
	}
	if cfg.KeyHead < 0 || cfg.ValueHead < 0 ||
		cfg.Keys%cfg.KeyHead != 0 || cfg.Values%cfg.ValueHead != 0 ||
		cfg.Values > 0 && cfg.Keys/cfg.KeyHead != cfg.Values/cfg.ValueHead {
		return fmt.Errorf("keys of width %d in heads of %d, values of %d in heads of %d",
			cfg.Keys, cfg.KeyHead, cfg.Values, cfg.ValueHead)
	}
	if FormatName(cfg.Format) == "" {
		return fmt.Errorf("no cache stores %v", cfg.Format)
	}
	for l, w := range cfg.Windows {
		if w < 0 || w > 0 && cfg.Step < 1 {
			return fmt.Errorf("layer %d has a window of %d, in steps of %d positions", l, w, cfg.Step)
		}
	}
	return nil
}

// Close gives the memory back. No sequence may be used afterwards.
func (c *Cache) Close() error { return c.release() }

// Tokens is the length of the longest sequence that the cache holds, alone.
func (c *Cache) Tokens() int {
	pages := sort.Search(c.total, func(n int) bool { return c.blocks(n+1) > c.total })
	return pages * PageTokens
}

// Stats returns the counts of now.
func (c *Cache) Stats() Stats {
	s := c.stats
	s.Total, s.Used = c.total, c.total-len(c.free)-s.Cached
	return s
}
