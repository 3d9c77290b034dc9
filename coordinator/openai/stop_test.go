package openai

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/conclave-serve/conclave/coordinator/engine"
)

func TestStopperForEverySplit(t *testing.T) {
	cases := []struct {
		text    string
		stops   []string
		want    string
		stopped bool
	}{
		{"hello world", []string{"wor"}, "hello ", true},
		{"hello wo", []string{"wor"}, "hello wo", false},
		{"aaab", []string{"aab"}, "a", true},
		{"abcabd", []string{"abd", "x"}, "abc", true},
		{"one two", []string{"two", "one two"}, "", true},   // both end here: the longest
		{"one two", []string{"one two", "e t"}, "on", true}, // ends first
		{"naïve", []string{"ïv"}, "na", true},
		{"stop", []string{"stop"}, "", true},
		{"", []string{"x"}, "", false},
		{"free", nil, "free", false},
	}
	for _, c := range cases {
		for split := range uint(1) << max(len(c.text)-1, 0) {
			pieces := splitText(c.text, split)
			got, stopped := feed(t, c.stops, pieces)
			if got != c.want || stopped != c.stopped {
				t.Fatalf("%q with %q in pieces %q: got %q, %v; want %q, %v",
					c.text, c.stops, pieces, got, stopped, c.want, c.stopped)
			}
		}
	}
}

// splitText cuts text after byte i where bit i of split is set.
func splitText(text string, split uint) []string {
	var pieces []string
	from := 0
	for i := 1; i <= len(text); i++ {
		if i == len(text) || split>>(i-1)&1 == 1 {
			pieces = append(pieces, text[from:i])
			from = i
		}
	}
	return pieces
}

// feed pushes pieces and checks that nothing leaves that could be taken back.
func feed(t interface {
	Helper()
	Fatalf(string, ...any)
}, stops, pieces []string,
) (string, bool) {
	t.Helper()
	s := stopper{stops: stops}
	in, out := "", ""
	for _, piece := range pieces {
		text, stopped := s.push(piece)
		in, out = in+piece, out+text
		if stopped {
			return out, true
		}
		for _, stop := range stops {
			for n := 1; n < len(stop); n++ {
				if strings.HasSuffix(in, stop[:n]) && len(out) > len(in)-n {
					t.Fatalf("%q left although %q may follow", out, stop[n:])
				}
			}
		}
	}
	return out + s.flush(), false
}

func TestStopperMatchesWholeText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		letters := rapid.StringOfN(rapid.SampledFrom([]rune("ab")), 1, 4, -1)
		stops := rapid.SliceOfN(letters, 1, 4).Draw(t, "stops")
		pieces := rapid.SliceOf(rapid.StringOfN(rapid.SampledFrom([]rune("abc")), 0, 4, -1)).
			Draw(t, "pieces")
		text := strings.Join(pieces, "")
		passed := rapid.IntRange(0, len(pieces)).Draw(t, "passed")
		include := rapid.Bool().Draw(t, "include")
		want, wantStopped := text, false
	search:
		for end := len(strings.Join(pieces[:passed], "")) + 1; end <= len(text); end++ {
			for start := range end {
				for _, stop := range stops {
					if text[start:end] == stop {
						want, wantStopped = text[:start], true
						if include {
							want = text[:end]
						}
						break search
					}
				}
			}
		}
		if passed == 0 && !include {
			got, stopped := feed(t, stops, pieces)
			if got != want || stopped != wantStopped {
				t.Fatalf("%q with %q: got %q, %v; want %q, %v",
					pieces, stops, got, stopped, want, wantStopped)
			}
		}
		s := stopper{stops: stops, include: include}
		got, stopped := "", false
		for i, piece := range pieces {
			out := ""
			if i < passed {
				out = s.pass(piece)
			} else {
				out, stopped = s.push(piece)
			}
			if got += out; stopped {
				break
			}
		}
		if got += s.flush(); got != want || stopped != wantStopped {
			t.Fatalf("%q with %q, %d passed: got %q, %v; want %q, %v",
				pieces, stops, passed, got, stopped, want, wantStopped)
		}
	})
}

// Before min_tokens neither a stop string nor a stop id ends an answer, and what
// ends it may be part of it.
func TestWhatEndsAnAnswer(t *testing.T) {
	for _, c := range []struct {
		extra, want, finish string
	}{
		{`"stop":"ell"`, "h", "stop"},
		{`"stop":"ell","include_stop_str_in_output":true`, "hell", "stop"},
		{`"stop":"ell","min_tokens":2`, "hello h", "stop"}, // "hello" is one token
		{`"stop":"lo","min_tokens":1,"include_stop_str_in_output":true`, "hello hello", "stop"},
		{`"stop":"o h","min_tokens":1`, "hell", "stop"}, // begins before, ends after it
		{`"stop":"never","include_stop_str_in_output":true`, "hello hello!", "stop"},
		{`"include_stop_str_in_output":true,"skip_special_tokens":false`,
			"hello hello!<|im_end|>", "stop"},
		{`"skip_special_tokens":false`, "hello hello!", "stop"},
	} {
		s, e := newServer(t, "hello hello!")
		for _, stream := range []string{"", `,"stream":true`} {
			got, _, finish := answer(t, post(t, s, textPath, `{"prompt":"a",`+c.extra+stream+`}`))
			if got != c.want || finish != c.finish {
				t.Errorf("%s%s: %q, %s, want %q", c.extra, stream, got, finish, c.want)
			}
		}
		if r := e.last(t); strings.Contains(c.extra, "min_tokens") != (r.MinTokens > 0) {
			t.Errorf("%s: at least %d tokens", c.extra, r.MinTokens)
		}
	}
}

// TestStopEndsTheWork stops at a string across tokens, with and without
// streaming, and expects the engine's context to end and the tokens inside the
// string to have no log-probabilities.
func TestStopEndsTheWork(t *testing.T) {
	for _, stream := range []string{"false", "true"} {
		s, e := newServer(t, "")
		e.hold = true
		e.script = func(r engine.Request) ([]engine.Event, error) {
			return e.say(r, "Say hello world, please", ""), nil
		}
		response := post(t, s, "/v1/chat/completions",
			chatBody(`"stop":["o wor","xyz"],"logprobs":true,"stream":`+stream))
		content, _, finish := answer(t, response)
		if content != "Say hell" || finish != "stop" {
			t.Errorf("stream %s: content %q, finish %q", stream, content, finish)
		}
		if e.contexts[0].Err() == nil {
			t.Errorf("stream %s: the engine still works", stream)
		}
		// "S" "a" "y" " " "hello": the last one straddles the stop string.
		if n := strings.Count(response, `"logprob":`); n != 5 {
			t.Errorf("stream %s: %d log-probabilities, want 5: %s", stream, n, response)
		}
		if strings.Contains(response, "wor") {
			t.Errorf("stream %s: the stop string leaked: %s", stream, response)
		}
	}
}

// relay is an engine whose second completion goes on only after the first one
// was stopped.
type relay struct{ *fakeEngine }

// Submit implements Engine.
func (e relay) Submit(ctx context.Context, r engine.Request) (<-chan engine.Event, error) {
	first, err := e.fakeEngine.Submit(ctx, r)
	if r.ID == "0123-0" || err != nil {
		return first, err
	}
	second := make(chan engine.Event)
	go func() {
		defer close(second)
		<-e.contexts[0].Done() // or the test binary's time limit
		second <- engine.Event{Token: idEnd, Finish: engine.FinishStop}
	}()
	return second, nil
}

func TestStopEndsOneOfTwoChoices(t *testing.T) {
	s, e := newServer(t, "")
	s.cfg.Engine = relay{e}
	e.hold = true
	e.script = func(r engine.Request) ([]engine.Event, error) { return e.say(r, "a stop b", ""), nil }
	response := post(t, s, chatPath, chatBody(`"n":2,"stop":"stop"`))
	if content, _, finish := answer(t, response); content != "a " || finish != "stopstop" {
		t.Errorf("content %q, finish %q", content, finish)
	}
}

func TestStopStringsAreEncodedOnce(t *testing.T) {
	f := &fields{values: map[string]json.RawMessage{"stop": json.RawMessage(`"a\u00e9"`)}}
	if got := readStops(f); len(got) != 1 || got[0] != "aé" || f.err != nil {
		t.Errorf("stop %q, error %v", got, f.err)
	}
}
