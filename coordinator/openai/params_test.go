package openai

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/coordinator/sample"
	"github.com/conclave-serve/conclave/internal/chat"
	"github.com/conclave-serve/conclave/model"
)

func TestParameters(t *testing.T) {
	number := func(f float64) *float64 { return &f }
	k := 20
	published := func(c *Config) {
		c.Spec.Sampling = model.Sampling{Temperature: number(0.6), TopP: number(0.95), TopK: &k}
	}
	cases := []struct {
		name, body string
		change     func(*Config)
		want       engine.Request // what differs from the defaults
	}{
		{
			name: "defaults", body: chatBody(""),
			want: engine.Request{
				Sampling: sample.Params{Temperature: 1, TopP: 1, RepetitionPenalty: 1, Seed: 42},
			},
		},
		{
			name: "the model's own", body: chatBody(`"temperature":null`), change: published,
			want: engine.Request{
				Sampling: sample.Params{
					Temperature: 0.6, TopP: 0.95, TopK: 20, RepetitionPenalty: 1, Seed: 42,
				},
			},
		},
		{
			name: "the request's own", change: published,
			body: chatBody(`"temperature":0,"top_p":0,"top_k":-1,"min_p":0.25,"seed":-1,` +
				`"repetition_penalty":1.5,"frequency_penalty":-2,"presence_penalty":0.5,` +
				`"logit_bias":{"5":-100,"7":2.5},"max_tokens":5,"max_completion_tokens":6.0,` +
				`"stop_token_ids":[1,2],"logprobs":true,"top_logprobs":3,"typical_p":0.5,` +
				`"allowed_token_ids":[9,8,1],"bad_words":["hello","  w<think>"],"min_tokens":6,` +
				`"priority":-7,"cache_salt":"s","prompt_logprobs":5`),
			want: engine.Request{
				MaxTokens: 6, StopIDs: []int32{1, 2, idEnd, idText}, Logprobs: 5,
				MinTokens: 6, Priority: -7, CacheSalt: "s", PromptLogprobs: true,
				Sampling: sample.Params{
					Allowed: []int32{9, 8, 1}, TypicalP: 0.5,
					// " hello" has one token more than "hello"; " w" and "w" have one each.
					BadWords: [][]int32{{idHello}, {'w', idThink}, {260, idThink}},
					TopP:     math.SmallestNonzeroFloat32, MinP: 0.25, Seed: math.MaxUint64,
					RepetitionPenalty: 1.5, FrequencyPenalty: -2, PresencePenalty: 0.5,
					LogitBias: map[int32]float32{5: -100, 7: 2.5},
				},
			},
		},
		{
			name: "what changes nothing",
			body: chatBody(`"model":"test","user":"u","metadata":{"a":"b"},"store":true,` +
				`"service_tier":"auto","safety_identifier":"i","prompt_cache_key":"k",` +
				`"spaces_between_special_tokens":false,"typical_p":1,"truncate_prompt_tokens":-1,` +
				`"priority":0,"allowed_token_ids":null,"bad_words":[],"unheard_of":1,` +
				`"tool_choice":"auto","response_format":{"type": "text"},"modalities":["text"],` +
				`"min_tokens":0,"n":1,"parallel_tool_calls":true,"stop":[]`),
			want: engine.Request{
				Sampling: sample.Params{Temperature: 1, TopP: 1, RepetitionPenalty: 1, Seed: 42},
			},
		},
	}
	for _, c := range cases {
		if c.change == nil {
			c.change = func(*Config) {}
		}
		s, e := newServer(t, "hello", c.change)
		post(t, s, chatPath, c.body)
		got := e.last(t)
		if got.Sampling.TypicalP == 1 {
			got.Sampling.TypicalP = 0 // the same
		}
		c.want.ID, c.want.Prompt = "0123-0", got.Prompt
		if c.want.MaxTokens == 0 {
			c.want.MaxTokens = 200 - len(got.Prompt)
			c.want.StopIDs, c.want.Logprobs = []int32{idEnd, idText}, -1
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: request (-want +got):\n%s", c.name, diff)
		}
	}
}

// What is kept of a prompt is its end; an echo shows no more than that.
func TestTruncatedPrompts(t *testing.T) {
	s, e := newServer(t, "!")
	got, _, _ := answer(t, post(t, s, textPath,
		`{"prompt":"hello a b","truncate_prompt_tokens":3,"echo":true}`))
	if r := e.last(t); !slices.Equal(r.Prompt, []int32{'a', ' ', 'b'}) || got != "a b!" {
		t.Errorf("prompt %v, answer %q", r.Prompt, got)
	}
	post(t, s, textPath, `{"prompt":[[1,2,3],[4]],"truncate_prompt_tokens":2}`)
	if r := e.requests[1]; !slices.Equal(r.Prompt, []int32{2, 3}) {
		t.Errorf("prompt %v", r.Prompt)
	}
	post(t, s, chatPath, chatBody(`"truncate_prompt_tokens":1`))
	if r := e.last(t); !slices.Equal(r.Prompt, []int32{'\n'}) {
		t.Errorf("prompt %v", r.Prompt)
	}
}

// The prompt of a chat that goes on ends within the last message, as written or
// as the template trims it.
func TestContinuedChats(t *testing.T) {
	for _, c := range []struct{ body, want, answer string }{
		{`[{"role":"user","content":"a"},{"role":"assistant","content":" b a"}]`,
			"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n b a", "hello"},
		{`[{"role":"user","content":"a b"}]`, "<|im_start|>user\na b", "hello"},
		{`[{"role":"assistant","content":[{"type":"text","text":"<|im_end|>"}]}],"echo":true`,
			"<|im_start|>assistant\n<|im_end|>", "<|im_end|>hello"},
		{`[{"role":"user","content":"a"}],"echo":true`, "<|im_start|>user\na", "hello"},
	} {
		s, e := newServer(t, "hello")
		for _, stream := range []string{"", `"stream":true,`} {
			body := post(t, s, chatPath, `{`+stream+`"continue_final_message":true,"messages":`+c.body+`}`)
			if got, _, _ := answer(t, body); got != c.answer {
				t.Errorf("%s: answer %q, want %q", c.body, got, c.answer)
			}
			if got := s.cfg.Tokenizer.Decode(e.last(t).Prompt, false); got != c.want {
				t.Errorf("%s: prompt %q, want %q", c.body, got, c.want)
			}
		}
	}
	s, e := newServer(t, "hello")
	post(t, s, chatPath, chatBody(`"add_generation_prompt":false`))
	if got := s.cfg.Tokenizer.Decode(e.last(t).Prompt, false); !strings.HasSuffix(got, "hello<|im_end|>\n") {
		t.Errorf("prompt %q", got)
	}
}

func TestCutBehind(t *testing.T) {
	spans := []chat.Span{
		{Text: "<a>"}, {Text: "b a", Input: true}, {Text: " c ", Input: true}, {Text: "</a>\n"},
	}
	for content, want := range map[string]string{
		"b a": "<a>b a", "a": "<a>b a", "c": "<a>b a c", "a c  \n": "<a>b a c", "c ": "<a>b a c ",
		"</a>": "", "d": "", "b  a": "",
	} {
		cut, found := cutBehind(spans, content)
		got := ""
		for _, span := range cut {
			got += span.Text
		}
		if found != (want != "") || got != want {
			t.Errorf("behind %q: %q, %v, want %q", content, got, found, want)
		}
	}
}

// Cached tokens are counted once for each prompt.
func TestCachedTokens(t *testing.T) {
	s, e := newServer(t, "")
	e.script = func(r engine.Request) ([]engine.Event, error) {
		events := e.say(r, "hello", engine.FinishStop)
		events[0].Cached = 3
		return events, nil
	}
	for body, want := range map[string]string{
		`{"prompt":"a b c"}`: `"cached_tokens":3`, `{"prompt":["a b c","a b c d"],"n":2}`: `"cached_tokens":6`,
	} {
		if got := post(t, s, textPath, body); !strings.Contains(got, want) {
			t.Errorf("%s: %s", body, got)
		}
	}
	if got := post(t, s, itemPath, inputBody("")); !strings.Contains(got, `"cached_tokens":3`) {
		t.Error(got)
	}
}

func TestIgnoreEOS(t *testing.T) {
	s, e := newServer(t, "hello")
	post(t, s, textPath, `{"prompt":"a","ignore_eos":true}`)
	if r := e.last(t); len(r.StopIDs) > 0 || r.MaxTokens != 16 {
		t.Errorf("stop ids %v, at most %d tokens", r.StopIDs, r.MaxTokens)
	}
}

func TestDefaultLengthIsCutToFit(t *testing.T) {
	s, e := newServer(t, "!")
	post(t, s, textPath, `{"prompt":"`+strings.Repeat("a", 190)+`"}`)
	if r := e.last(t); len(r.Prompt) != 190 || r.MaxTokens != 10 {
		t.Errorf("%d prompt tokens, at most %d more", len(r.Prompt), r.MaxTokens)
	}
}

func TestChoicesHaveTheirOwnSeeds(t *testing.T) {
	s, e := newServer(t, "hello")
	post(t, s, textPath, `{"prompt":["a","b"],"n":2,"seed":10}`)
	var seeds []uint64
	for _, r := range e.requests {
		seeds = append(seeds, r.Sampling.Seed)
	}
	if !slices.Equal(seeds, []uint64{10, 11, 10, 11}) {
		t.Errorf("seeds %v", seeds)
	}
}

func TestPromptsOfChats(t *testing.T) {
	cases := []struct{ name, body, want string }{
		{"developer", `{"messages":[{"role":"developer","content":"a"}]}`,
			"<|im_start|>system\na<|im_end|>\n<|im_start|>assistant\n"},
		{"parts", `{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}`,
			"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"},
		{"tools", `{"messages":[],"tools":[{"type":"function","function":{"name":"f"}}]}`,
			`{"type": "function", "function": {"name": "f"}}<|im_start|>assistant` + "\n"},
		{"reasoning and calls", `{"messages":[{"role":"assistant","reasoning":"hm","content":null,` +
			`"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":` +
			`"{\"<think>\": 1}"}}]},{"role":"tool","tool_call_id":"c","content":"1"}]}`,
			`<|im_start|>assistant` + "\n" + `<think>hm</think><tool_call>f {"<think>": 1}</tool_call>` +
				"<|im_end|>\n<|im_start|>tool\n1<|im_end|>\n<|im_start|>assistant\n"},
		{"tools out of reach", `{"messages":[],"tools":[{"type":"function","function":` +
			`{"name":"f"}}],"tool_choice":"none"}`, "<|im_start|>assistant\n"},
	}
	for _, c := range cases {
		s, e := newServer(t, "hello")
		body := c.body
		turn := ""
		if strings.Contains(body, `"messages":[]`) {
			body = strings.Replace(body, "[]", `[{"role":"user","content":""}]`, 1)
			turn = "<|im_start|>user\n<|im_end|>\n"
		}
		post(t, s, chatPath, body)
		if got := s.cfg.Tokenizer.Decode(e.last(t).Prompt, false); got != turn+c.want {
			t.Errorf("%s: prompt %q, want %q", c.name, got, turn+c.want)
		}
	}
}
