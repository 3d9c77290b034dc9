package grammar

import (
	"container/list"
	"context"
	"sync"
)

// Limits of a cache. Schemas of tools and applications repeat, and there are few of them at a time.
const (
	maxCached      = 256
	maxCachedBytes = 256 << 20
)

// Cache keeps compiled grammars for one vocabulary by what they were made of. It is safe for
// concurrent use; what several ask for at once is compiled once.
type Cache struct {
	vocab *Vocabulary

	mu      sync.Mutex
	entries map[string]*list.Element // of *cached
	recent  *list.List               // the most recently used first
}

// cached is a grammar, or why there is none, once done is closed.
type cached struct {
	key  string
	done chan struct{}
	g    *Grammar
	err  error
}

// NewCache returns an empty cache.
func NewCache(v *Vocabulary) *Cache {
	return &Cache{vocab: v, entries: map[string]*list.Element{}, recent: list.New()}
}

// Vocabulary returns what the grammars are for.
func (c *Cache) Vocabulary() *Vocabulary { return c.vocab }

// Get returns the grammar of a key, which says all that build depends on; where it is not there, it
// is compiled from what build returns. Errors are kept like grammars. While another caller
// compiles, Get waits until that is done or ctx is.
func (c *Cache) Get(ctx context.Context, key string, build func() (*Expr, error)) (
	*Grammar, error,
) {
	c.mu.Lock()
	if at, ok := c.entries[key]; ok {
		c.recent.MoveToFront(at)
		c.trim() // those in use grow
		c.mu.Unlock()
		entry := at.Value.(*cached)
		select {
		case <-entry.done:
			return entry.g, entry.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	entry := &cached{key: key, done: make(chan struct{})}
	c.entries[key] = c.recent.PushFront(entry)
	c.mu.Unlock()
	x, err := build()
	if err == nil {
		entry.g, err = Compile(x, c.vocab)
	}
	entry.err = err
	close(entry.done)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trim()
	return entry.g, entry.err
}

// trim, under the lock, drops the grammars that were not used for longest, until the rest keep the
// limits.
func (c *Cache) trim() {
	bytes, n := 0, 0
	for at := c.recent.Front(); at != nil; {
		entry, next := at.Value.(*cached), at.Next()
		n++
		bytes += entry.bytes()
		if n > 1 && (n > maxCached || bytes > maxCachedBytes) {
			c.recent.Remove(at)
			delete(c.entries, entry.key)
		}
		at = next
	}
}

// bytes returns about how much memory an entry takes now.
func (e *cached) bytes() int {
	n := len(e.key)
	select {
	case <-e.done:
		if e.g != nil {
			n += e.g.Bytes()
		}
	default:
	}
	return n
}

// Len counts the grammars.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recent.Len()
}
