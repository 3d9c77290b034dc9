package grammar

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/conclave-serve/conclave/internal/grammar/regular"
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

// TestManyRuns says that a grammar of many sets keeps the runs of few, and answers for them.
func TestManyRuns(t *testing.T) {
	v := vocabulary(5000, 10, 1)
	var parts []*Expr
	for i := range 50 {
		set := regular.Of('a', 'z', rune(0x4e00+i), rune(0x4e00+i))
		parts = append(parts, Repeat(Chars(set), 0, Unbounded))
	}
	g := compile(t, Seq(parts...), v)
	sets := map[*runSet]bool{}
	for _, i := range g.program.code {
		if i.run != nil {
			sets[i.run] = true
		}
	}
	if len(sets) != maxOwnSets {
		t.Errorf("it has the runs of %d sets, want %d", len(sets), maxOwnSets)
	}
	if least := maxOwnSets * (2*v.size + 8*v.Words()); g.Bytes() < least {
		t.Errorf("it takes %d bytes, want at least %d", g.Bytes(), least)
	}
	if text := "ab\u4e00z\u4e2f"; !matches(g, text) {
		t.Errorf("%q is refused", text)
	}
}

// A grammar whose building panics leaves nobody waiting, and can be asked for again.
func TestCacheAfterAPanic(t *testing.T) {
	c := NewCache(vocabulary(300, 0, 1))
	started, release := make(chan struct{}), make(chan struct{})
	broken := make(chan any)
	go func() {
		defer func() { broken <- recover() }()
		_, _ = c.Get(t.Context(), "key", func() (*Expr, error) {
			close(started)
			<-release
			panic("broken")
		})
	}()
	<-started
	waiting := make(chan error)
	entry := c.find("key")
	go func() {
		_, err := entry.wait(t.Context())
		waiting <- err
	}()
	close(release)
	if p := <-broken; p != "broken" {
		t.Errorf("recovered %v", p)
	}
	if err := <-waiting; !errors.Is(err, errUnfinished) {
		t.Errorf("who waited got %v", err)
	}
	for range maxCompiling + 1 { // no place is lost
		g, err := c.Get(t.Context(), "key", func() (*Expr, error) { return Literal("a"), nil })
		if g == nil || err != nil {
			t.Fatalf("asked again: %v", err)
		}
	}
}

// No more than maxCompiling grammars are built at once; the others' callers wait, or leave.
func TestCacheBoundsCompilations(t *testing.T) {
	c := NewCache(vocabulary(300, 0, 1))
	release := make(chan struct{})
	started := make(chan struct{}, maxCompiling)
	var all sync.WaitGroup
	for i := range maxCompiling {
		all.Go(func() {
			if _, err := c.Get(t.Context(), fmt.Sprint(i), func() (*Expr, error) {
				started <- struct{}{}
				<-release
				return Literal("a"), nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	for range maxCompiling {
		<-started
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(gone, "late", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that the context has ended", err)
	}
	all.Go(func() {
		if _, err := c.Get(t.Context(), "more", func() (*Expr, error) { return Literal("b"), nil }); err != nil {
			t.Error(err)
		}
	})
	close(release)
	all.Wait()
}
