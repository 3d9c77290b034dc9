package grammar

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// Limits of a cache. Schemas of tools and applications repeat, and there are few of them at a time.
const (
	maxCached      = 256
	maxCachedBytes = 256 << 20
)

// maxCompiling bounds the grammars that are compiled at once: a hostile one takes a core for
// seconds, and the engine needs some too.
const maxCompiling = 2

// errUnfinished is what those who wait are told when building a grammar panicked.
var errUnfinished = errors.New("the grammar was not finished; ask again")

// Cache keeps compiled grammars for one vocabulary by what they were made of. It is safe for
// concurrent use; what several ask for at once is compiled once.
type Cache struct {
	vocab *Vocabulary

	mu      sync.Mutex
	entries map[string]*list.Element // of *cached
	recent  *list.List               // the most recently used first

	compiling chan struct{} // holds a token for each grammar that is being compiled
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
	return &Cache{
		vocab: v, entries: map[string]*list.Element{}, recent: list.New(),
		compiling: make(chan struct{}, maxCompiling),
	}
}

// Get returns the grammar of a key, which says all that build depends on; where it is not there, it
// is compiled from what build returns. Errors are kept like grammars. While another caller
// compiles it, or maxCompiling others are, Get waits until that is done or ctx is.
func (c *Cache) Get(ctx context.Context, key string, build func() (*Expr, error)) (
	*Grammar, error,
) {
	if entry := c.find(key); entry != nil {
		return entry.wait(ctx)
	}
	select {
	case c.compiling <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	entry, found := c.findOrAdd(key)
	if found { // somebody was faster
		<-c.compiling
		return entry.wait(ctx)
	}
	c.compile(entry, build)
	return entry.g, entry.err
}

// find returns the entry of a key, or nil.
func (c *Cache) find(key string) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.entries[key]
	if !ok {
		return nil
	}
	c.recent.MoveToFront(at)
	c.trim() // those in use grow
	return at.Value.(*cached)
}

// findOrAdd returns the entry of a key, a new one if it was not there.
func (c *Cache) findOrAdd(key string) (entry *cached, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.entries[key]; ok {
		return at.Value.(*cached), true
	}
	entry = &cached{key: key, done: make(chan struct{})}
	c.entries[key] = c.recent.PushFront(entry)
	return entry, false
}

// compile fills a new entry. If build panics, those who wait get an error, and the entry is gone.
func (c *Cache) compile(entry *cached, build func() (*Expr, error)) {
	entry.err = errUnfinished
	defer func() {
		<-c.compiling
		close(entry.done)
		c.mu.Lock()
		defer c.mu.Unlock()
		if at, ok := c.entries[entry.key]; ok && errors.Is(entry.err, errUnfinished) {
			c.recent.Remove(at)
			delete(c.entries, entry.key)
		}
		c.trim()
	}()
	x, err := build()
	if err == nil {
		entry.g, err = Compile(x, c.vocab)
	}
	entry.err = err
}

// wait waits until an entry is compiled or ctx is done.
func (e *cached) wait(ctx context.Context) (*Grammar, error) {
	select {
	case <-e.done:
		return e.g, e.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
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
