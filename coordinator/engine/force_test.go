package engine

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/sample"
)

// after returns what greedy decoding says after the prompt and tokens that it
// did not choose, those included.
func after(prompt []int32, n int, said ...int32) []int32 {
	return append(slices.Clone(said), continuation(slices.Concat(prompt, said), n-len(said))...)
}

func TestForce(t *testing.T) {
	e, _ := start(t, 64)
	p := prompt(1, 10)
	free := continuation(p, 20)
	third := free[2]
	if slices.Contains(free[:2], third) || slices.Contains(free, 40) {
		t.Fatal("the prompt does not suit the cases")
	}
	for _, c := range []struct {
		name   string
		force  []Forced
		stops  []int32
		want   []int32
		finish Finish
	}{
		{"at the start", []Forced{{After: -1, Tokens: []int32{7, 8, 9}}}, nil,
			after(p, 20, 7, 8, 9), FinishLength},
		{"after a token", []Forced{{After: third, Tokens: []int32{7, 8}}}, nil,
			after(p, 20, append(slices.Clone(free[:3]), 7, 8)...), FinishLength},
		{"one after the other", []Forced{
			{After: -1, Tokens: []int32{7, 8}}, {After: -1, Tokens: []int32{9}}}, nil,
			after(p, 20, 7, 8, 9), FinishLength},
		{"the second does not look at the tokens of the first", []Forced{
			{After: -1, Tokens: []int32{40}}, {After: 40, Limit: 2, Tokens: []int32{7}}}, nil,
			after(p, 20, append(after(p, 3, 40), 40, 7)...), FinishLength},
		{"a token that comes in time", []Forced{{After: third, Limit: 3, Tokens: []int32{7}}}, nil,
			after(p, 20, append(slices.Clone(free[:3]), 7)...), FinishLength},
		{"a token that comes too late", []Forced{{After: third, Limit: 1}}, nil,
			after(p, 20, free[0], third), FinishLength},
		{"every wait has its own limit", []Forced{{After: third}, {After: 40, Limit: 2, Tokens: []int32{7}}}, nil,
			after(p, 20, append(slices.Clone(free[:5]), 40, 7)...), FinishLength},
		{"a token that never comes", []Forced{{After: 40}}, nil, free, FinishLength},
		{"a stop id makes room", []Forced{{After: 40, Tokens: []int32{7}}}, free[:1],
			// free[0] does not come again before the limit
			after(p, 20, 40, 7), FinishLength},
		{"a stop id may end an optional wait", []Forced{{After: 40, Optional: true}}, free[:1],
			free[:1], FinishStop},
		{"an optional entry that has begun is not optional", []Forced{
			{After: free[0], Optional: true, Tokens: []int32{7, 8}}}, free[:1],
			after(p, 20, free[0], 7, 8), FinishLength},
		{"stop ids among the tokens", []Forced{{After: -1, Tokens: []int32{40, 7, 40}}}, []int32{40},
			[]int32{40, 7, 40}, FinishStop},
		{"what is waited for is a stop id", []Forced{{After: free[0], Tokens: nil}}, free[:1],
			free[:1], FinishStop},
	} {
		if c.finish == FinishLength && len(c.stops) > 0 && slices.Contains(c.want[1:], c.stops[0]) {
			t.Fatalf("%s: the stop id comes again", c.name)
		}
		events := complete(t, e, Request{
			Prompt: p, MaxTokens: 20, Force: c.force, StopIDs: c.stops, Logprobs: 2,
		})
		if got := tokens(events); !slices.Equal(got, c.want) || last(events).Finish != c.finish {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, got, last(events).Finish, c.want, c.finish)
			continue
		}
		for i, event := range events {
			before := slices.Concat(p, c.want[:i])
			checkLogprob(t, c.name, event.Logprob, before, event.Token, 2)
		}
	}
}

func TestForceRefuses(t *testing.T) {
	e, _ := start(t, 2)
	for name, entry := range map[string]Forced{
		"an id below -1":               {After: -2},
		"an id beyond the vocabulary":  {After: testVocab},
		"a token beyond it":            {After: -1, Tokens: []int32{1, testVocab}},
		"a negative token":             {After: -1, Tokens: []int32{-1}},
		"a negative limit":             {After: 1, Limit: -1},
		"a limit with nothing to wait": {After: -1, Limit: 1},
	} {
		r := Request{Prompt: []int32{1}, MaxTokens: 1, Force: []Forced{{After: 1}, entry}}
		if _, err := e.Submit(t.Context(), r); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Forced tokens count for the penalties, and each takes its random number, so
// that what follows is what it would be had they been sampled.
func TestForceIsSampled(t *testing.T) {
	e, _ := start(t, 64)
	r := Request{
		Prompt: prompt(5, 7), MaxTokens: 40, Logprobs: 1,
		Sampling: sample.Params{
			Temperature: 3, Seed: 9, TopP: 0.9, RepetitionPenalty: 1.3, FrequencyPenalty: 0.7,
		},
	}
	want := complete(t, e, r)
	said := tokens(want)
	for _, n := range []int{1, 10, 40} {
		r.Force = []Forced{{After: -1, Tokens: said[:n]}}
		if got := tokens(complete(t, e, r)); !slices.Equal(got, said) {
			t.Errorf("with its own first %d tokens forced: %v, want %v", n, got, said)
		}
	}
	r.Force = []Forced{{After: -1, Tokens: []int32{said[0] ^ 1}}}
	if got := tokens(complete(t, e, r)); slices.Equal(got[1:], said[1:]) {
		t.Error("another first token changes nothing")
	}
}

// A caller that leaves among forced tokens is let go.
func TestCancelWhileForced(t *testing.T) {
	e, m := start(t, 64, func(cfg *Config) { cfg.Model.(*fakeModel).stepwise() })
	ctx, leave := context.WithCancel(t.Context())
	events, err := e.Submit(ctx, Request{
		Prompt: prompt(2, 5), MaxTokens: 100, Logprobs: -1,
		Force: []Forced{{After: -1, Tokens: prompt(3, 50)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	<-m.entered
	for range 5 {
		m.advance(nil)
	}
	leave()
	m.proceed <- nil
	got := finish(t, events)
	if end := last(got); end.Finish != FinishCancelled || end.Token != -1 {
		t.Errorf("ended with %+v", end)
	}
}

// phrases is a constraint: the completion is one of some sentences.
type phrases struct {
	said      []int32
	sentences [][]int32
}

func (p *phrases) follows(token int32, left int) bool {
	said := append(slices.Clone(p.said), token)
	return slices.ContainsFunc(p.sentences, func(s []int32) bool {
		return len(s) >= len(said) && len(s)-len(p.said) <= left && slices.Equal(s[:len(said)], said)
	})
}

func (p *phrases) Mask(allowed []uint64, left int) {
	clear(allowed)
	for token := range int32(testTokens) {
		if p.follows(token, left) {
			allowed[token/64] |= 1 << (token % 64)
		}
	}
}

func (p *phrases) Accept(token int32) bool {
	if !p.follows(token, testTokens) {
		return false
	}
	p.said = append(p.said, token)
	return true
}

func (p *phrases) MayEnd() bool {
	return slices.ContainsFunc(p.sentences, func(s []int32) bool { return slices.Equal(s, p.said) })
}

func (p *phrases) MustEnd() bool {
	return p.MayEnd() && !slices.ContainsFunc(p.sentences, func(s []int32) bool {
		return len(s) > len(p.said) && slices.Equal(s[:len(p.said)], p.said)
	})
}

// A constraint holds from its entry on, lets the completion end only where it
// may, and ends it where it must.
func TestConstraint(t *testing.T) {
	const stop = 7
	e, _ := start(t, 12)
	for _, test := range []struct {
		name      string
		force     Forced
		sentences [][]int32
		want      []int32
	}{
		{"from the beginning", Forced{After: -1}, [][]int32{{3, 4, 5}}, []int32{3, 4, 5}},
		{"behind what is forced", Forced{After: -1, Tokens: []int32{9, 9}}, [][]int32{{3}},
			[]int32{9, 9, 3}},
		{"where it would stop", Forced{After: 2}, [][]int32{{6, 6}}, []int32{2, 6, 6}},
		{"stop id inside", Forced{After: -1}, [][]int32{{stop, stop, 5}}, []int32{stop, stop, 5}},
		{"a way out", Forced{After: -1}, [][]int32{{3}, {3, stop, 4}}, []int32{3, stop}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.force.Then = &phrases{sentences: test.sentences}
			bias := map[int32]float32{stop: 50}
			events, err := e.Submit(t.Context(), Request{
				Prompt: prompt(1, 5), MaxTokens: 20, Logprobs: -1, StopIDs: []int32{stop},
				Sampling: sample.Params{LogitBias: bias}, Force: []Forced{test.force},
			})
			if err != nil {
				t.Fatal(err)
			}
			got := finish(t, events)
			if last(got).Finish != FinishStop {
				t.Errorf("finish %q (%v)", last(got).Finish, last(got).Err)
			}
			if said := tokens(got); !slices.Equal(said, test.want) {
				t.Errorf("said %d, want %d", said, test.want)
			}
		})
	}
}

// Where no stop id may come, a completion ends with its constraint fulfilled once there are too few
// tokens left to go on.
func TestConstraintWithoutStop(t *testing.T) {
	e, _ := start(t, 12)
	for name, r := range map[string]Request{
		"none": {}, "too early": {StopIDs: []int32{7}, MinTokens: 3},
	} {
		r.Prompt, r.MaxTokens, r.Logprobs = prompt(1, 5), 3, -1
		r.Force = []Forced{{After: -1, Then: &phrases{sentences: [][]int32{{3}, {3, 4, 5, 6}}}}}
		events, err := e.Submit(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		got := finish(t, events)
		if last(got).Finish != FinishStop || !slices.Equal(tokens(got), []int32{3}) {
			t.Errorf("%s: said %d, finish %q (%v)", name, tokens(got), last(got).Finish, last(got).Err)
		}
	}
}

// No stop id comes before MinTokens, and one does after.
func TestMinTokens(t *testing.T) {
	const stop = 7
	e, _ := start(t, 12)
	events, err := e.Submit(t.Context(), Request{
		Prompt: prompt(2, 5), MaxTokens: 20, MinTokens: 6, Logprobs: -1, StopIDs: []int32{stop},
		Sampling: sample.Params{LogitBias: map[int32]float32{stop: 50}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := finish(t, events)
	if said := tokens(got); len(said) != 7 || slices.Index(said, stop) != 6 {
		t.Errorf("said %d, want six tokens and then %d", said, stop)
	}
}
