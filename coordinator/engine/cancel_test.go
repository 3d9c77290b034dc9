package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/forward"
)

// A caller that leaves, wherever its sequence is, gets its stream closed and
// its pages are free when the step after the one at hand begins.
func TestCancel(t *testing.T) {
	for _, c := range []struct {
		name    string
		prompt  int // tokens
		running int // place in the batch for so many
		steps   int // steps before the caller leaves
	}{
		{"while waiting", 10, 1, 0},
		{"before its first step has ended", 200, 2, 0},
		{"in the middle of its prompt", 200, 2, 1},
		{"while decoding", 10, 2, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, m := start(t, 64, func(cfg *Config) {
				cfg.MaxRunning = c.running
				cfg.Model.(*fakeModel).stepwise()
			})
			other, err := e.Submit(t.Context(), Request{Prompt: prompt(1, 3), MaxTokens: 100, Logprobs: -1})
			if err != nil {
				t.Fatal(err)
			}
			<-m.entered
			ctx, leave := context.WithCancel(t.Context())
			events, err := e.Submit(ctx, Request{Prompt: prompt(2, c.prompt), MaxTokens: 100, Logprobs: -1})
			if err != nil {
				t.Fatal(err)
			}
			m.advance(nil) // takes it in, if there is a place
			for range c.steps {
				m.advance(nil)
			}
			leave()
			rows := m.advance(nil)
			if sequences(rows) != 1 {
				t.Errorf("the step after the caller left has rows of %d sequences", sequences(rows))
			}
			if s := e.Stats(); s.PagesUsed != 1 || s.Running != 1 || s.Waiting != 0 {
				t.Errorf("after the caller left: %+v", s)
			}
			if end := last(finish(t, events)); end.Finish != FinishCancelled || end.Token != -1 {
				t.Errorf("ended with %+v", end)
			}
			e.Close()
			finish(t, other)
		})
	}
}

func sequences(rows []forward.Row) int {
	seen := map[any]bool{}
	for _, r := range rows {
		seen[r.Seq] = true
	}
	return len(seen)
}

// A caller that has left without reading still finds that its stream was cut.
func TestCancelUnread(t *testing.T) {
	e, _ := start(t, 64)
	ctx, leave := context.WithCancel(t.Context())
	events, err := e.Submit(ctx, Request{Prompt: prompt(1, 3), MaxTokens: 2000, Logprobs: -1})
	if err != nil {
		t.Fatal(err)
	}
	complete(t, e, Request{Prompt: prompt(1, 3), MaxTokens: 100, Logprobs: -1}) // by now it is full
	leave()
	got := finish(t, events)
	if end := last(got); end.Finish != FinishCancelled || end.Token != -1 {
		t.Errorf("%d events, the last %+v", len(got), end)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	events, err = e.Submit(gone, Request{Prompt: prompt(1, 3), MaxTokens: 1, Logprobs: -1})
	if err != nil {
		t.Fatal(err)
	}
	if end := last(finish(t, events)); end.Finish != FinishCancelled {
		t.Errorf("a request without a caller ended with %+v", end)
	}
}

// A step that fails ends the requests in it, with its error, and no other.
func TestStepError(t *testing.T) {
	lost := &UnavailableError{Reason: "experts 3-5 of layer 2"}
	e, m := start(t, 64, func(c *Config) { c.MaxRunning = 2; c.Model.(*fakeModel).stepwise() })
	// Prompts take two steps, and share nothing.
	r := Request{Prompt: prompt(1, 100), MaxTokens: 2, Logprobs: -1}
	var streams []<-chan Event
	for i := range 3 {
		r.CacheSalt = string(rune('a' + i))
		events, err := e.Submit(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, events)
		if i == 0 {
			<-m.entered
		}
	}
	m.advance(nil) // both that run are in the next step
	rows := m.advance(lost)
	if sequences(rows) != 1 {
		t.Errorf("%d sequences after the failure, want the one that waited", sequences(rows))
	}
	for i, s := range streams[:2] {
		end := last(finish(t, s))
		var got *UnavailableError
		if end.Finish != FinishError || !errors.As(end.Err, &got) || got != lost {
			t.Errorf("stream %d ended with %+v", i, end)
		}
	}
	m.advance(nil)
	m.advance(nil)
	m.proceed <- nil
	if end := last(finish(t, streams[2])); end.Finish != FinishLength {
		t.Errorf("the one that waited ended with %+v", end)
	}
}

// A step that is cut off by Close is no failure of the model.
func TestCloseDuringStep(t *testing.T) {
	e, m := start(t, 64, func(c *Config) { c.Model.(*fakeModel).stepwise() })
	events, err := e.Submit(t.Context(), Request{Prompt: prompt(1, 3), MaxTokens: 2, Logprobs: -1})
	if err != nil {
		t.Fatal(err)
	}
	<-m.entered
	e.Close()
	if end := last(finish(t, events)); !errors.Is(end.Err, ErrDraining) {
		t.Errorf("ended with %+v", end)
	}
}

// Logits that name no token end their own sequence only.
func TestBadLogits(t *testing.T) {
	e, _ := start(t, 64)
	good, err := e.Submit(t.Context(), Request{Prompt: prompt(1, 3), MaxTokens: 50, Logprobs: 2})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]Request{
		"generate":       {MaxTokens: 5, Logprobs: -1},
		"with logprobs":  {MaxTokens: 5, Logprobs: 3},
		"score":          {PromptLogprobs: true},
		"score and more": {MaxTokens: 5, PromptLogprobs: true},
	} {
		r.Prompt = []int32{3, poison, 4}
		events := complete(t, e, r)
		if end := last(events); len(events) != 1 || end.Finish != FinishError || end.Err == nil || end.Token != -1 {
			t.Errorf("%s: %+v", name, events)
		}
	}
	if end := last(finish(t, good)); end.Finish != FinishLength {
		t.Errorf("its neighbour ended with %+v", end)
	}
}
