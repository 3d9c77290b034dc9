package openai

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/chat"
)

// said is what the deltas of a choice add up to.
type said struct {
	reasoning, content, calls string
	logprobs, reasoned        int
	finish                    engine.Finish
}

// run feeds tokens to a choice of a server with the tool "f" and these stop
// strings, and expects it to end with the last one at the latest.
func (s *Server) feed(t interface{ Fatalf(string, ...any) }, stops []string, ids []int32) said {
	c := &choice{scored: true,
		decoder: s.cfg.Tokenizer.NewDecoder(true), stop: stopper{stops: stops}, cancel: func() {},
		parser: s.dialect.NewParser(chat.ParserConfig{
			Vocabulary: s.controls, Tools: []chat.Tool{{Name: "f"}}, ParallelCalls: true,
		}),
	}
	var out said
	for i, id := range ids {
		e := engine.Event{Token: id}
		if i == len(ids)-1 {
			e.Finish = engine.FinishLength
		}
		d, err := c.step(e)
		if err != nil {
			t.Fatalf("token %d: %v", i, err)
		}
		for _, p := range d.parts {
			out.reasoning += p.Reasoning
			out.content += p.Content
			if p.Call != nil {
				out.calls += p.Call.Name + p.Call.Arguments
			}
		}
		out.logprobs += len(d.logprobs)
		out.reasoned += d.reasoned
		if out.finish = d.finish; c.finished {
			break
		}
	}
	return out
}

func TestStopStringsAmongControlTokens(t *testing.T) {
	s, _ := newServer(t, "")
	for _, c := range []struct {
		text, stop string
		want       said
	}{
		{"<think>hm</think>hello", "hello", said{"hm", "", "", 4, 3, "stop"}},
		{"<think>hm</think>hello", "</think>", said{"hm", "", "", 3, 3, "stop"}},
		{"<think>hm</think>hello", "m</th", said{"h", "", "", 2, 2, "stop"}},
		{"<think>hm</think>hello", "k>he", said{"hm</thin", "", "", 4, 5, "stop"}},
		{"<think>hm</think>hello", "think>!", said{"hm", "hello", "", 5, 3, "length"}},
		{"a<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>b", "b",
			said{"", "a", "f{}", 30, 0, "tool_calls"}},
		{"a<|im_start|>b", "ab", said{"", "", "", 0, 0, "stop"}},
	} {
		got := s.feed(t, []string{c.stop}, s.cfg.Tokenizer.Encode(c.text))
		if got != c.want {
			t.Errorf("%q until %q: %+v, want %+v", c.text, c.stop, got, c.want)
		}
	}
}

// A control token that is no text parts what a stop string would join, and one
// that is text parts a character that was cut off from what follows.
func TestControlTokensPartText(t *testing.T) {
	h, _ := harmonyServer(t)
	ids := h.cfg.Tokenizer.Encode("<|channel|>final<|message|>ab<|end|>x")
	if got := h.feed(t, []string{"bx"}, ids); got.content != "ab\nx" || got.finish != "length" {
		t.Errorf("%+v", got)
	}
	s, _ := newServer(t, "")
	ids = slices.Concat([]int32{idThink, 'a', s.cfg.Tokenizer.Encode("é")[0], idClose}, []int32{'b'})
	if got := s.feed(t, nil, ids); got.reasoning != "a\uFFFD" || got.content != "b" {
		t.Errorf("%+v", got)
	}
}

// A choice without stop strings says what the parser says of the same tokens,
// and one with a stop string that does not come says the same; every token has
// its log-probability.
func TestChoiceIsItsParser(t *testing.T) {
	s, _ := newServer(t, "")
	tok := s.cfg.Tokenizer
	rapid.Check(t, func(t *rapid.T) {
		fragment := rapid.SampledFrom([]string{
			"<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_start|>", "\n", "hello",
			`{"name": "f", "arguments": `, `{"a": "é"}`, "}", "<thi", "nk>", "\u00e9",
		})
		text := strings.Join(rapid.SliceOfN(fragment, 1, 12).Draw(t, "text"), "")
		ids := tok.Encode(text)
		if cut := rapid.IntRange(0, 3).Draw(t, "cut"); cut > 0 {
			ids = append(ids, tok.Encode("é")[0]) // half a character
		}
		var want said
		parser := s.dialect.NewParser(chat.ParserConfig{
			Vocabulary: s.controls, Tools: []chat.Tool{{Name: "f"}}, ParallelCalls: true,
		})
		add := func(parts []chat.Part) {
			for _, p := range parts {
				want.reasoning += p.Reasoning
				want.content += p.Content
				if p.Call != nil {
					want.calls += p.Call.Name + p.Call.Arguments
				}
			}
		}
		plain := []int32{}
		for _, id := range ids {
			if !parser.Control(id) {
				plain = append(plain, id)
				continue
			}
			add(parser.Text(tok.Decode(plain, true)))
			add(parser.Token(id))
			plain = plain[:0]
		}
		add(parser.Text(tok.Decode(plain, true)))
		add(parser.Flush())
		for _, stops := range [][]string{nil, {"never"}, {"k>!", "hellé", "<think>?", "e>é!"}} {
			got := s.feed(t, stops, ids)
			if got.reasoning != want.reasoning || got.content != want.content ||
				got.calls != want.calls {
				t.Fatalf("%q until %q: %+v, want %+v", text, stops, got, want)
			}
		}
	})
}

// harmonyServer returns a server with gpt-oss' control tokens.
func harmonyServer(t testing.TB) (*Server, *fakeEngine) {
	dialect, err := chat.DialectNamed("harmony")
	if err != nil {
		t.Fatal(err)
	}
	tok := newHarmonyTokenizer(t)
	id := func(token string) int32 {
		id, ok := tok.ID(token)
		if !ok {
			t.Fatalf("no token %q", token)
		}
		return id
	}
	template, err := chat.Parse(`{%- for m in messages %}`+
		`{{- '<|start|>' + m.role + '<|message|>' + (m.content or '') + '<|end|>' }}`+
		`{%- endfor %}{{- '<|start|>assistant' }}`, "harmony")
	if err != nil {
		t.Fatal(err)
	}
	s, e := newServer(t, "", func(c *Config) {
		spec := *c.Spec
		spec.EOS = []int32{id("<|return|>"), id("<|call|>")}
		c.Tokenizer, c.Template, c.Dialect, c.Spec = tok, template, dialect, &spec
	})
	e.tokenizer = tok
	e.script = func(r engine.Request) ([]engine.Event, error) {
		return nil, nil
	}
	return s, e
}

// sayAll makes e say text, whose last token stops the answer.
func (e *fakeEngine) sayAll(text string) {
	e.script = func(r engine.Request) ([]engine.Event, error) {
		events := e.say(r, text, "")
		last := &events[len(events)-1]
		if slices.Contains(r.StopIDs, last.Token) {
			last.Finish = engine.FinishStop
		} else {
			last.Finish = engine.FinishLength
		}
		return events, nil
	}
}

func TestHarmonyChannelsDoNotLeak(t *testing.T) {
	s, e := harmonyServer(t)
	for _, c := range []struct{ text, content, reasoning, calls, finish string }{
		{"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>" +
			"hello<|return|>", "hello", "hm", "", "stop"},
		{"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\":1}<|call|>",
			"", "", `f{"a":1}`, "tool_calls"},
		{"<|channel|>analysis<|message|>hm<|end|><|start|>assistant to=functions.f<|channel|>" +
			"commentary json<|message|>{}<|call|>", "", "hm", "f{}", "tool_calls"},
		{"<|channel|>analysis<|message|>h", "", "h", "", "length"},
		{"<|channel|>commentary to=functions.f<|message|><|call|>", "", "", "f{}", "tool_calls"},
	} {
		e.sayAll(c.text)
		for _, stream := range []string{"false", "true"} {
			response := post(t, s, chatPath,
				chatBody(`"stream":`+stream+`,"logprobs":true,`+oneTool))
			content, reasoning, finish := answer(t, response)
			if calls := calls(t, response); content != c.content || reasoning != c.reasoning ||
				calls != c.calls || finish != c.finish {
				t.Errorf("%q, stream %s: content %q, reasoning %q, calls %q, %s",
					c.text, stream, content, reasoning, calls, finish)
			}
			for _, tag := range []string{`"content":"anal`, "functions."} {
				if strings.Contains(response, tag) {
					t.Errorf("%q: %s leaked: %s", c.text, tag, response)
				}
			}
		}
	}
}

// A stop string is looked for in what is seen, not in the headers of messages.
func TestStopStringsAndHeaders(t *testing.T) {
	s, e := harmonyServer(t)
	e.sayAll("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final" +
		"<|message|>the final word<|return|>")
	for stop, want := range map[string]string{"final": "the ", "analysis": "the final word"} {
		content, reasoning, finish := answer(t, post(t, s, chatPath, chatBody(`"stop":"`+stop+`"`)))
		if content != want || reasoning != "hm" || finish != "stop" {
			t.Errorf("until %q: content %q, reasoning %q, %s", stop, content, reasoning, finish)
		}
	}
}

// calls returns the names and arguments of the calls in a response.
func calls(t *testing.T, response string) (out string) {
	t.Helper()
	type part struct {
		Calls []chatCall `json:"tool_calls"`
	}
	for _, line := range strings.Split(response, "\n\n") {
		data := strings.TrimPrefix(line, "data: ")
		if data == "" || data == "[DONE]" {
			continue
		}
		var chunk struct {
			Choices []struct{ Delta, Message part }
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		for _, c := range chunk.Choices {
			for _, call := range append(c.Delta.Calls, c.Message.Calls...) {
				out += call.Function.Name + call.Function.Arguments
			}
		}
	}
	return out
}
