package engine

import (
	"context"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/kernels"
)

// Whatever arrives and leaves, whatever the sizes: every stream ends once, one
// that ends by itself has the tokens that it has alone, every page comes back
// (start checks), and the race detector is content.
func TestRandomLife(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	rapid.Check(t, func(r *rapid.T) {
		rows := rapid.IntRange(1, 40).Draw(r, "rows")
		pages := rapid.IntRange(3, 12).Draw(r, "pages")
		memory := rapid.SampledFrom([]int{4096, 2, 40}).Draw(r, "memory") // 2 falls into loops
		e, _ := start(t, pages, func(c *Config) {
			if memory < 4096 {
				forget(t, c, pages, memory, rows)
			}
			c.MaxRows, c.MaxLogits = rows, rapid.IntRange(1, rows).Draw(r, "logits")
			c.MaxRunning = rapid.IntRange(1, 8).Draw(r, "running")
			c.Draft = rapid.IntRange(0, 4).Draw(r, "draft")
			c.Pool = pool
		})
		var callers sync.WaitGroup
		for i := range rapid.IntRange(1, 12).Draw(r, "requests") {
			p := prompt(i/2, rapid.IntRange(1, 90).Draw(r, "prompt"))
			n := rapid.IntRange(1, 60).Draw(r, "tokens")
			leaveAfter := rapid.IntRange(-60, 30).Draw(r, "leave after") // negative: never
			ctx, leave := context.WithCancel(t.Context())
			events, err := e.Submit(ctx, Request{
				Prompt: p, MaxTokens: n, Logprobs: -1, PromptLogprobs: rapid.Bool().Draw(r, "score"),
				Priority:  rapid.IntRange(0, 2).Draw(r, "priority"),
				CacheSalt: rapid.SampledFrom([]string{"", "", "salt"}).Draw(r, "salt"),
			})
			if err != nil {
				leave()
				t.Errorf("submit: %v", err)
				continue
			}
			callers.Go(func() {
				defer leave()
				live(t, events, remembered(p, min(e.Context()-len(p), n), memory), leaveAfter, leave)
			})
		}
		if rapid.IntRange(0, 4).Draw(r, "cut") == 0 {
			e.Close()
		}
		callers.Wait()
		e.Close()
	})
}

// forget gives the model of c a short memory, and layers with a window of it on
// a cache of the given pages for each.
func forget(t *testing.T, c *Config, pages, memory, rows int) {
	cache, err := kvcache.New(kvcache.Config{
		Windows: []int{memory, 0}, Keys: 1, Values: 1, Step: rows, Prefix: true,
		Bytes: int64(2*pages) * 8 * kvcache.PageTokens,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close() })
	m := c.Model.(*fakeModel)
	m.cache, m.memory, c.Cache = cache, memory, cache
}

// live reads a stream as a caller that may leave, and checks it: want is what
// it says if it stays.
func live(t *testing.T, events <-chan Event, want []int32, leaveAfter int, leave func()) {
	var got []Event
	for range max(leaveAfter, 0) {
		event, ok := <-events
		if !ok {
			break
		}
		got = append(got, event)
	}
	if leaveAfter >= 0 {
		leave()
	}
	for event := range events {
		got = append(got, event)
	}
	ends := 0
	for _, event := range got {
		if event.Finish != "" {
			ends++
		}
	}
	if ends != 1 || last(got).Finish == "" {
		t.Errorf("%d final events among %d", ends, len(got))
		return
	}
	switch last(got).Finish {
	case FinishLength:
		if !slices.Equal(tokens(got), want) {
			t.Errorf("%d tokens that are not the %d of the model", len(tokens(got)), len(want))
		}
	case FinishCancelled, FinishError:
		if g := tokens(got); leaveAfter < 0 && !slices.Equal(g, want[:len(g)]) {
			t.Errorf("a stream that was cut has gaps or other tokens")
		}
	default:
		t.Errorf("finish %q", last(got).Finish)
	}
}
