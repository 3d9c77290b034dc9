package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/coordinator/sample"
)

// A request that begins like an earlier one skips what the two share, and says
// the same; a salt keeps them apart, and a prompt that is scored is computed.
func TestPrefixIsShared(t *testing.T) {
	e, m := start(t, 64)
	p := prompt(3, 200)
	pages := 199 / kvcache.PageTokens * kvcache.PageTokens
	for _, c := range []struct {
		name   string
		change func(*Request)
		cached int
	}{
		{"cold", func(*Request) {}, 0},
		{"warm", func(*Request) {}, pages},
		{"another salt", func(r *Request) { r.CacheSalt = "mine" }, 0},
		{"the same salt again", func(r *Request) { r.CacheSalt = "mine" }, pages},
		{"another end", func(r *Request) { r.Prompt[100]++ }, 96},
		{"shorter", func(r *Request) { r.Prompt = r.Prompt[:64] }, 32},
		{"scored", func(r *Request) { r.PromptLogprobs = true }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Request{Prompt: slices.Clone(p), MaxTokens: 20, Logprobs: -1}
			c.change(&r)
			before := m.rows()
			got := complete(t, e, r)
			if said := tokens(got); !slices.Equal(said, continuation(r.Prompt, 20)) {
				t.Errorf("said %d", said)
			}
			cached := 0
			for _, event := range got {
				cached += event.Cached
			}
			if cached != c.cached {
				t.Errorf("%d tokens were cached, want %d", cached, c.cached)
			}
			if rows := m.rows() - before; rows != len(r.Prompt)+19-c.cached {
				t.Errorf("%d positions were computed", rows)
			}
		})
	}
	e.Close() // the last step has been counted
	if s := e.Stats(); s.PrefixHits != int64(2*pages+96+32) || s.PagesUsed != 0 || s.PagesCached == 0 {
		t.Errorf("%+v", s)
	}
}

// rows counts the positions computed so far.
func (m *fakeModel) rows() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, b := range m.batches {
		n += b.rows
	}
	return n
}

// With a long prompt under way, a short request has its first token within
// three steps, and a stream that decodes gets a token in every one.
func TestLongPromptStallsNobody(t *testing.T) {
	e, m := start(t, 1024, func(c *Config) { c.Model.(*fakeModel).stepwise() })
	submit := func(r Request) <-chan Event {
		r.Logprobs = -1
		events, err := e.Submit(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return events
	}
	stream := submit(Request{Prompt: prompt(1, 3), MaxTokens: 1000})
	<-m.entered
	m.advance(nil)
	long := submit(Request{Prompt: prompt(2, 4000), MaxTokens: 5})
	other := submit(Request{Prompt: prompt(4, 3000), MaxTokens: 5})
	m.advance(nil)
	m.advance(nil)
	short := submit(Request{Prompt: prompt(3, 20), MaxTokens: 5})
	m.advance(nil) // it came during this step
	spoke := 0
	for step := 1; spoke == 0 && step <= 3; step++ {
		for len(stream) > 0 {
			<-stream
		}
		m.advance(nil)
		if e := <-stream; e.Token < 0 {
			t.Errorf("step %d: the stream stood still", step)
		}
		select {
		case e := <-short:
			if e.Token != continuation(prompt(3, 20), 1)[0] {
				t.Errorf("the short request said %+v", e)
			}
			spoke = step
		case <-time.After(50 * time.Millisecond): // not yet: the next step
		}
	}
	if spoke == 0 {
		t.Error("after three steps the short request has not begun to answer")
	}
	if len(long) > 0 || len(other) > 0 {
		t.Error("a long prompt was done at once: the test shows nothing")
	}
	e.Close()
	for _, events := range []<-chan Event{stream, long, other, short} {
		finish(t, events)
	}
}

// Requests of a lower priority wait for those of a higher one, and give their
// place up to them; they go on with the same tokens.
func TestPriority(t *testing.T) {
	e, m := start(t, 64, func(c *Config) {
		c.MaxRunning = 1
		c.Model.(*fakeModel).stepwise()
	})
	same := func(i int) []int32 { return slices.Repeat([]int32{int32(i)}, 40) }
	var streams []<-chan Event
	for i, priority := range []int{1, 1, 0, -7, 1} {
		events, err := e.Submit(t.Context(), Request{
			Prompt: same(i), MaxTokens: 4, Logprobs: -1, Priority: priority,
		})
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, events)
		if i == 0 {
			<-m.entered
		}
	}
	order := []int32{0} // whose prompts were computed, in turn
	go func() {
		defer e.Close()
		for i, events := range streams {
			if said := tokens(finish(t, events)); !slices.Equal(said, continuation(same(i), 4)) {
				t.Errorf("request %d said %d", i, said)
			}
		}
	}()
	for done := false; !done; {
		select {
		case m.proceed <- nil:
		case rows := <-m.entered:
			if r := rows[0]; r.Pos < 40 && r.Token != order[len(order)-1] {
				order = append(order, r.Token)
			}
		case <-e.ended:
			done = true
		}
	}
	if !slices.Equal(order, []int32{0, 3, 2, 0, 1, 4}) {
		t.Errorf("they were served in the order %d", order)
	}
	if n := e.Stats().Preemptions; n != 1 {
		t.Errorf("%d preemptions", n)
	}
}

func TestDeadline(t *testing.T) {
	e, m := start(t, 64, func(c *Config) {
		c.MaxRunning = 1
		c.Model.(*fakeModel).stepwise()
	})
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	other, err := e.Submit(t.Context(), Request{Prompt: prompt(1, 3), MaxTokens: 9, Logprobs: -1})
	if err != nil {
		t.Fatal(err)
	}
	<-m.entered
	late, err := e.Submit(ctx, Request{Prompt: prompt(2, 3), MaxTokens: 9, Logprobs: -1})
	if err != nil {
		t.Fatal(err)
	}
	m.advance(nil)
	if end := last(finish(t, late)); end.Finish != FinishError || !errors.Is(end.Err, ErrDeadline) {
		t.Errorf("ended with %+v", end)
	}
	e.Close()
	finish(t, other)
}

// Guesses change how many steps an answer takes, and nothing of the answer.
func TestDraft(t *testing.T) {
	requests := []Request{
		{Prompt: prompt(1, 50), MaxTokens: 400},
		{Prompt: prompt(2, 7), MaxTokens: 300, Sampling: sample.Params{Temperature: 1, Seed: 5}},
		{Prompt: prompt(3, 90), MaxTokens: 200, Logprobs: 2, PromptLogprobs: true},
		{Prompt: prompt(4, 20), MaxTokens: 300, StopIDs: []int32{11}},
		{Prompt: prompt(5, 20), MaxTokens: 300, Sampling: sample.Params{FrequencyPenalty: .5}},
		{Prompt: prompt(6, 20), MaxTokens: 300, Force: []Forced{{After: 9, Limit: 30, Tokens: []int32{1, 2, 3}}}},
		{Prompt: prompt(7, 20), MaxTokens: 300, Force: []Forced{{
			After: -1, Then: &phrases{sentences: [][]int32{{1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4}}},
		}}},
	}
	run := func(draft int) ([][]Event, Stats) {
		e, _ := start(t, 64, func(c *Config) {
			c.Draft = draft
			c.Model.(*fakeModel).memory = 2 // so that it falls into loops
		})
		streams := make([]<-chan Event, len(requests))
		for i, r := range requests {
			if r.Logprobs == 0 {
				r.Logprobs = -1
			}
			if c := len(r.Force); c > 0 && r.Force[0].Then != nil {
				r.Force = []Forced{{After: -1, Then: &phrases{
					sentences: r.Force[0].Then.(*phrases).sentences,
				}}}
			}
			var err error
			if streams[i], err = e.Submit(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		var all [][]Event
		for _, s := range streams {
			all = append(all, finish(t, s))
		}
		e.Close()
		return all, e.Stats()
	}
	plain, alone := run(0)
	guessed, stats := run(4)
	for i := range plain {
		if !slices.EqualFunc(plain[i], guessed[i], sameEvent) {
			t.Errorf("request %d: %d tokens without guesses, %d with them, or others",
				i, len(plain[i]), len(guessed[i]))
		}
	}
	t.Logf("%d steps instead of %d; %d of %d guesses came true",
		stats.Steps, alone.Steps, stats.AcceptedTokens, stats.DraftTokens)
	if stats.AcceptedTokens < 500 || stats.AcceptedTokens == stats.DraftTokens ||
		stats.Steps >= alone.Steps {
		t.Errorf("guesses brought little, or were never wrong: %+v", stats)
	}
	if alone.DraftTokens != 0 {
		t.Errorf("without guesses: %+v", alone)
	}
}

func sameEvent(a, b Event) bool {
	prob := func(a, b TokenLogprob) bool {
		return a.Token == b.Token && a.Logprob == b.Logprob && slices.Equal(a.Top, b.Top)
	}
	return a.Token == b.Token && a.Finish == b.Finish && prob(a.Logprob, b.Logprob) &&
		slices.EqualFunc(a.Prompt, b.Prompt, prob)
}

func TestContinuationOf(t *testing.T) {
	for _, c := range []struct {
		tokens []int32
		want   []int32
	}{
		{nil, nil},
		{[]int32{1}, nil},
		{[]int32{1, 2, 3, 4}, nil},
		{[]int32{1, 2, 3, 1, 2}, []int32{3, 1, 2}},
		{[]int32{1, 2, 8, 9, 9, 9, 1, 2, 7, 7, 7, 1, 2}, []int32{7, 7, 7}},
		{[]int32{5, 1, 2, 8, 6, 1, 2, 7, 5, 1, 2}, []int32{8, 6, 1}}, // the longer one, though older
		{[]int32{4, 4, 4, 4, 4}, []int32{4}},
	} {
		if got := continuationOf(c.tokens, 3); !slices.Equal(got, c.want) {
			t.Errorf("after %d: %d, want %d", c.tokens, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		tokens := rapid.SliceOf(rapid.Int32Range(0, 3)).Draw(t, "tokens")
		n := rapid.IntRange(1, 6).Draw(t, "n")
		if got := continuationOf(tokens, n); len(got) > n {
			t.Fatalf("%d tokens, asked for %d", len(got), n)
		}
	})
}

// What a request is told of its time adds up.
func TestTiming(t *testing.T) {
	e, _ := start(t, 64)
	began := time.Now()
	got := complete(t, e, Request{Prompt: prompt(1, 30), MaxTokens: 30, Logprobs: -1})
	took := time.Since(began)
	timing := last(got).Timing
	if timing == nil {
		t.Fatal("the last event has no timing")
	}
	if timing.Queued < 0 || timing.Prefill <= 0 || timing.Decode <= 0 ||
		timing.Queued+timing.Prefill+timing.Decode > took {
		t.Errorf("%+v of %v", timing, took)
	}
}

// A request that waits for pages is placed as soon as what it shares with one
// that runs leaves enough of them: not only when that one ends.
func TestWaitsForWhatItShares(t *testing.T) {
	e, m := start(t, 12, func(c *Config) { c.Model.(*fakeModel).stepwise() })
	p := prompt(5, 8*kvcache.PageTokens+1)
	submit := func() <-chan Event {
		events, err := e.Submit(t.Context(), Request{Prompt: p, MaxTokens: 90, Logprobs: -1})
		if err != nil {
			t.Fatal(err)
		}
		return events
	}
	first := submit()
	<-m.entered
	second := submit() // not enough pages for another copy of the prompt
	running := 0
	for range 12 {
		m.advance(nil)
		running = max(running, e.Stats().Running)
	}
	if running != 2 {
		t.Errorf("while the first one decoded %d ran", running)
	}
	close(m.proceed)
	var stepping sync.WaitGroup
	stepping.Go(func() {
		for range m.entered {
		}
	})
	for _, events := range []<-chan Event{first, second} {
		if said := tokens(finish(t, events)); !slices.Equal(said, continuation(p, 90)) {
			t.Errorf("said %d", said)
		}
	}
	close(m.entered)
	stepping.Wait()
}
