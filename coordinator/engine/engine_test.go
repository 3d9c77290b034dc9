package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/coordinator/sample"
)

func TestNewRefuses(t *testing.T) {
	cache, err := kvcache.New(kvcache.Config{Windows: []int{0}, Keys: 1, Values: 1, Bytes: 1 << 12})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	good := Config{
		Model: &fakeModel{}, Cache: cache, Vocab: 8, Tokens: 8, Context: 8,
		MaxRows: 2, MaxLogits: 2, MaxRunning: 1, MaxWaiting: 1,
	}
	for name, change := range map[string]func(*Config){
		"no vocabulary": func(c *Config) { c.Vocab = 0 }, "no tokens": func(c *Config) { c.Tokens = 0 },
		"more tokens than logits": func(c *Config) { c.Tokens = 9 }, "no context": func(c *Config) { c.Context = 0 },
		"no rows": func(c *Config) { c.MaxRows = 0 }, "more logits than rows": func(c *Config) { c.MaxLogits = 3 },
		"nothing runs": func(c *Config) { c.MaxRunning = 0 }, "nothing waits": func(c *Config) { c.MaxWaiting = 0 },
	} {
		cfg := good
		change(&cfg)
		if e, err := New(cfg); err == nil {
			e.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestOneRequest(t *testing.T) {
	e, _ := start(t, 64)
	p := prompt(1, 10)
	want := continuation(p, 40)
	for _, c := range []struct {
		name   string
		r      Request
		tokens []int32
		finish Finish
	}{
		{"up to the limit", Request{MaxTokens: 40}, want, FinishLength},
		{"one token", Request{MaxTokens: 1}, want[:1], FinishLength},
		{"up to a stop id", Request{MaxTokens: 40, StopIDs: want[5:6]}, want[:1+slices.Index(want, want[5])], FinishStop},
		{"no stop ids", Request{MaxTokens: 7, StopIDs: nil}, want[:7], FinishLength},
		{"the last token is a stop id", Request{MaxTokens: 1, StopIDs: want[:1]}, want[:1], FinishStop},
	} {
		c.r.Prompt, c.r.Logprobs = p, -1
		events := complete(t, e, c.r)
		if got := tokens(events); !slices.Equal(got, c.tokens) || last(events).Finish != c.finish {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, got, last(events).Finish, c.tokens, c.finish)
		}
		if len(events) != len(c.tokens) {
			t.Errorf("%s: %d events for %d tokens", c.name, len(events), len(c.tokens))
		}
	}
}

// A completion ends where the context does: the model's or the cache's.
func TestContextEnds(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"the model's": func(c *Config) { c.Context = 2 * kvcache.PageTokens },
		"the cache's": func(c *Config) {},
	} {
		e, _ := start(t, 2, change)
		if e.Context() != 2*kvcache.PageTokens {
			t.Fatalf("%s context is %d", name, e.Context())
		}
		for _, n := range []int{1, 40, 63} {
			events := complete(t, e, Request{Prompt: prompt(3, n), MaxTokens: 1000, Logprobs: -1})
			if got := len(tokens(events)); got != 64-n || last(events).Finish != FinishLength {
				t.Errorf("%s: prompt of %d: %d tokens, %v", name, n, got, last(events).Finish)
			}
		}
		if _, err := e.Submit(t.Context(), Request{Prompt: prompt(3, 64), MaxTokens: 1}); !errors.Is(err, ErrTooLong) {
			t.Errorf("%s: full prompt: %v", name, err)
		}
		scored := complete(t, e, Request{Prompt: prompt(3, 64), PromptLogprobs: true})
		if len(last(scored).Prompt) != 64 {
			t.Errorf("%s: %d prompt entries of a full context", name, len(last(scored).Prompt))
		}
	}
}

func TestSubmitRefuses(t *testing.T) {
	e, _ := start(t, 2)
	for _, c := range []struct {
		name string
		r    Request
		want error
		text string
	}{
		{"no prompt", Request{MaxTokens: 1}, ErrInvalid, "no tokens"},
		{"negative id", Request{Prompt: []int32{1, -1}, MaxTokens: 1}, ErrInvalid, "token 1 is -1"},
		{"id beyond the vocabulary", Request{Prompt: []int32{testVocab}, MaxTokens: 1}, ErrInvalid, "vocabulary has 50"},
		{"no tokens asked for", Request{Prompt: []int32{1}}, ErrInvalid, "max tokens is 0"},
		{"negative tokens", Request{Prompt: []int32{1}, MaxTokens: -1, PromptLogprobs: true}, ErrInvalid, "-1"},
		{"too long to score", Request{Prompt: prompt(1, 65), PromptLogprobs: true}, ErrTooLong, "65 tokens"},
	} {
		events, err := e.Submit(t.Context(), c.r)
		if events != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// variety is a set of requests that differ in everything.
func variety(n int) []Request {
	out := make([]Request, n)
	for i := range out {
		out[i] = Request{
			ID: fmt.Sprint(i), Prompt: prompt(i, 1+i*13%90), MaxTokens: 1 + i*7%60, Logprobs: i%4 - 1,
			PromptLogprobs: i%3 == 0,
		}
		if i%2 == 1 {
			out[i].Sampling = sample.Params{
				Temperature: 3, Seed: uint64(i), TopP: 0.95, RepetitionPenalty: 1.1, FrequencyPenalty: 0.2,
			}
		}
		if i%5 == 0 {
			out[i].StopIDs = []int32{int32(i) % testTokens}
		}
		if i%3 == 1 {
			out[i].Force = []Forced{
				{After: -1, Tokens: prompt(i+1, i)},
				{After: int32(i), Limit: 1 + i, Tokens: prompt(i+2, 3)},
			}
		}
	}
	return out
}

// oneByOne returns what requests give alone, each on an idle roomy engine.
func oneByOne(t *testing.T, requests []Request) [][]Event {
	t.Helper()
	e, _ := start(t, 64, func(c *Config) { c.MaxRows, c.MaxLogits = 256, 256 })
	out := make([][]Event, len(requests))
	for i, r := range requests {
		out[i] = complete(t, e, r)
	}
	return out
}

// unlike is what differs between two runs of one request: how long they took,
// and what others had left in the cache.
var unlike = cmpopts.IgnoreFields(Event{}, "Timing", "Cached")

// What a request receives depends on it alone: not on the requests beside it,
// the chunks of its prompt, or preemptions.
func TestStreamsEqualOneByOne(t *testing.T) {
	requests := variety(16)
	want := oneByOne(t, requests)
	for _, c := range []struct {
		name               string
		pages, rows, limit int
		preempts           bool
	}{
		{"together", 64, 64, 32, false},
		{"in small chunks", 64, 7, 5, false},
		{"one row at a time", 64, 1, 1, false},
		{"in a small cache", 6, 64, 32, true},
		{"in a small cache in small chunks", 6, 7, 3, true},
		{"in a small cache one row at a time", 5, 1, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, m := start(t, c.pages, func(cfg *Config) { cfg.MaxRows, cfg.MaxLogits = c.rows, c.limit })
			streams := make([]<-chan Event, len(requests))
			for i, r := range requests {
				var err error
				if streams[i], err = e.Submit(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			for i, s := range streams {
				if diff := cmp.Diff(want[i], finish(t, s), unlike); diff != "" {
					t.Errorf("request %d differs from the same alone:\n%s", i, diff)
				}
			}
			if n := e.Stats().Preemptions; (n > 0) != c.preempts {
				t.Errorf("%d preemptions", n)
			}
			for _, b := range m.batches {
				if b.rows > c.rows || b.logits > c.limit {
					t.Fatalf("a step of %+v exceeds %d rows, %d logits", b, c.rows, c.limit)
				}
			}
		})
	}
}

// A stream that nobody reads holds up neither the others nor the engine, and
// loses nothing.
func TestSlowCaller(t *testing.T) {
	e, _ := start(t, 64)
	p := prompt(1, 5)
	slow, err := e.Submit(t.Context(), Request{Prompt: p, MaxTokens: 200, Logprobs: -1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		complete(t, e, Request{Prompt: prompt(i, 5), MaxTokens: 200, Logprobs: -1})
	}
	if got := tokens(finish(t, slow)); !slices.Equal(got, continuation(p, 200)) {
		t.Errorf("the slow caller got %d tokens, or others than alone", len(got))
	}
}

func TestQueueFull(t *testing.T) {
	e, m := start(t, 64, func(c *Config) {
		c.MaxRunning, c.MaxWaiting = 1, 2
		c.Model.(*fakeModel).stepwise()
	})
	r := Request{Prompt: prompt(1, 3), MaxTokens: 2, Logprobs: -1}
	submit := func() <-chan Event {
		t.Helper()
		events, err := e.Submit(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return events
	}
	// Whether or not the engine has looked meanwhile, one has a place and two wait.
	streams := []<-chan Event{submit(), submit(), submit()}
	if _, err := e.Submit(t.Context(), r); !errors.Is(err, ErrQueueFull) {
		t.Errorf("a third that waits: %v", err)
	}
	<-m.entered
	if _, err := e.Submit(t.Context(), r); !errors.Is(err, ErrQueueFull) {
		t.Errorf("a third that waits while the first runs: %v", err)
	}
	if s := e.Stats(); s.Running != 1 || s.Waiting != 2 {
		t.Errorf("stats %+v, want 1 running, 2 waiting", s)
	}
	for range 5 {
		m.advance(nil)
	}
	m.proceed <- nil
	for _, s := range streams {
		if got := tokens(finish(t, s)); len(got) != 2 {
			t.Errorf("%d tokens", len(got))
		}
	}
}

func TestDrain(t *testing.T) {
	e, m := start(t, 64, func(c *Config) { c.Model.(*fakeModel).stepwise(); c.MaxRunning = 1 })
	r := Request{Prompt: prompt(1, 3), MaxTokens: 2, Logprobs: -1}
	running, err := e.Submit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := e.Submit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	<-m.entered
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Drain(impatient); !errors.Is(err, context.Canceled) {
		t.Errorf("drain of a busy engine with no patience: %v", err)
	}
	if _, err := e.Submit(t.Context(), r); !errors.Is(err, ErrDraining) {
		t.Errorf("submit while draining: %v", err)
	}
	drained := make(chan error, 1)
	go func() { drained <- e.Drain(t.Context()) }()
	for range 3 {
		m.advance(nil)
	}
	m.proceed <- nil
	for _, s := range []<-chan Event{running, waiting} {
		if f := last(finish(t, s)).Finish; f != FinishLength {
			t.Errorf("an accepted request ended with %v", f)
		}
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if err := e.Drain(t.Context()); err != nil {
		t.Errorf("second drain: %v", err)
	}
}

// A request that is accepted while a drain begins is finished.
func TestSubmitWhileDraining(t *testing.T) {
	late := &Engine{draining: true, inbox: []*sequence{{}}} // submitted after the loop's last look
	if late.drained() {
		t.Error("drained, with a request in the inbox")
	}
	for range 50 {
		e, _ := start(t, 2)
		accepted := make(chan (<-chan Event), 1)
		go func() {
			defer close(accepted)
			events, err := e.Submit(t.Context(), Request{Prompt: []int32{1}, MaxTokens: 2, Logprobs: -1})
			if err == nil {
				accepted <- events
			} else if !errors.Is(err, ErrDraining) {
				t.Error(err)
			}
		}()
		if err := e.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		for events := range accepted {
			if end := last(finish(t, events)); end.Finish != FinishLength {
				t.Fatalf("ended with %+v", end)
			}
		}
	}
}

// An idle engine drains at once; after Close there is nothing to wait for.
func TestDrainIdle(t *testing.T) {
	e, _ := start(t, 2)
	if err := e.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	closed, _ := start(t, 2)
	closed.Close()
	closed.Close()
	if err := closed.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := closed.Submit(t.Context(), Request{Prompt: []int32{1}, MaxTokens: 1}); !errors.Is(err, ErrDraining) {
		t.Errorf("submit after Close: %v", err)
	}
}

// Close ends what runs and what waits, and waits for no caller.
func TestClose(t *testing.T) {
	e, m := start(t, 64, func(c *Config) { c.MaxRunning = 2 })
	endless := Request{Prompt: prompt(2, 3), MaxTokens: 2000, Logprobs: -1}
	var streams []<-chan Event
	for range 4 { // two run, two wait, nobody reads
		s, err := e.Submit(t.Context(), endless)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	for range 40 { // more than a stream holds unread
		<-streams[0]
	}
	e.Close()
	for i, s := range streams {
		if end := last(finish(t, s)); end.Finish != FinishError || !errors.Is(end.Err, ErrDraining) || end.Token != -1 {
			t.Errorf("stream %d ended with %+v", i, end)
		}
	}
	if len(m.batches) > 2000 {
		t.Errorf("%d steps: the engine went on", len(m.batches))
	}
}

// In steady state a token costs no allocation.
func TestNoAllocationPerToken(t *testing.T) {
	e, _ := start(t, 64)
	events, err := e.Submit(t.Context(), Request{Prompt: prompt(1, 3), MaxTokens: 2000, Logprobs: -1})
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		<-events
	}
	const run = 100
	if n := testing.AllocsPerRun(10, func() {
		for range run {
			<-events
		}
	}); n > 5*(run/kvcache.PageTokens+1) { // a page that becomes findable costs some
		t.Errorf("%v allocations for %d tokens", n, run)
	}
}

// BenchmarkToken measures the engine's own work for one token of 16 streams.
func BenchmarkToken(b *testing.B) {
	e, _ := start(b, 4096)
	p := prompt(1, 3)
	b.ReportAllocs()
	var streams [16]<-chan Event
	for n := 0; n < b.N; {
		for i := range streams {
			events, err := e.Submit(context.Background(), Request{Prompt: p, MaxTokens: min(500, b.N), Logprobs: -1})
			if err != nil {
				b.Fatal(err)
			}
			streams[i] = events
		}
		for _, s := range streams {
			n += len(finish(b, s))
		}
	}
}
