package grammar

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func TestCacheCompilesOnce(t *testing.T) {
	c := NewCache(vocabulary(300, 0, 1))
	var built atomic.Int32
	var all sync.WaitGroup
	release := make(chan struct{})
	grammars := make([]*Grammar, 8)
	for i := range grammars {
		all.Go(func() {
			g, err := c.Get(t.Context(), "key", func() (*Expr, error) {
				built.Add(1)
				<-release
				return Literal("a"), nil
			})
			if err != nil {
				t.Error(err)
			}
			grammars[i] = g
		})
	}
	close(release)
	all.Wait()
	for _, g := range grammars {
		if g == nil || g != grammars[0] {
			t.Fatal("callers got different grammars")
		}
	}
	if built.Load() != 1 {
		t.Errorf("built %d times", built.Load())
	}
}

func TestCacheWaitsNoLongerThanItsCaller(t *testing.T) {
	c := NewCache(vocabulary(300, 0, 1))
	started, release := make(chan struct{}), make(chan struct{})
	var first sync.WaitGroup
	first.Go(func() {
		_, _ = c.Get(context.Background(), "key", func() (*Expr, error) {
			close(started)
			<-release
			return nil, errors.New("no")
		})
	})
	<-started
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Get(gone, "key", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that the context has ended", err)
	}
	close(release)
	first.Wait()
	if _, err := c.Get(t.Context(), "key", nil); err == nil || err.Error() != "no" {
		t.Errorf("error %v, want the one that is kept", err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := NewCache(vocabulary(300, 0, 1))
	get := func(key string) {
		if _, err := c.Get(t.Context(), key, func() (*Expr, error) { return Literal(key), nil }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 * maxCached {
		get(fmt.Sprint(i))
		get("0") // stays in use
	}
	if c.Len() != maxCached {
		t.Errorf("%d grammars are kept, want %d", c.Len(), maxCached)
	}
	if _, err := c.Get(t.Context(), "0", nil); err != nil {
		t.Errorf("the grammar in use was dropped: %v", err)
	}
}
