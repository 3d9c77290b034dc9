package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/coordinator/sample"
	"github.com/conclave-serve/conclave/internal/chat"
	"github.com/conclave-serve/conclave/internal/tokenizer"
	"github.com/conclave-serve/conclave/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Ids of the test tokenizer: bytes are 0 to 255, then come the merges.
const (
	idHello = 259
	idEnd   = 264 // <|im_end|>
	idText  = 262 // <|endoftext|>
	idThink = 265
	idClose = 266 // </think>
	idCall  = 267 // <tool_call>
	tokens  = 269
)

// newTokenizer returns a byte-level tokenizer with a few merges and Qwen3's
// most important control tokens, and more that are looked for after NFC.
func newTokenizer(t testing.TB, normalized ...string) *tokenizer.Tokenizer {
	t.Helper()
	return buildTokenizer(t, 3, append([]string{
		"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>",
		"</tool_call>",
	}, normalized...))
}

// newHarmonyTokenizer has gpt-oss' control tokens in their place, all special.
func newHarmonyTokenizer(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	contents := []string{"<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>",
		"<|message|>", "<|call|>"}
	return buildTokenizer(t, len(contents), contents)
}

// buildTokenizer returns a byte-level tokenizer with added tokens, of which the
// first are special, so many.
func buildTokenizer(t testing.TB, special int, contents []string) *tokenizer.Tokenizer {
	t.Helper()
	return buildTokenizerWith(t, special, contents, nil)
}

// buildTokenizerWith is buildTokenizer with a post-processor.
func buildTokenizerWith(t testing.TB, special int, contents []string, post any) *tokenizer.Tokenizer {
	t.Helper()
	vocab := make(map[string]int)
	for b, next := 0, 256; b < 256; b++ {
		symbol := rune(b)
		if b <= 32 || 127 <= b && b <= 160 || b == 173 {
			symbol = rune(next)
			next++
		}
		vocab[string(symbol)] = b
	}
	merges := []string{"h e", "l l", "he ll", "hell o", "Ġ w", "o r"}
	for i, merge := range merges {
		vocab[strings.ReplaceAll(merge, " ", "")] = 256 + i
	}
	var added []map[string]any
	for i, content := range contents {
		added = append(added, map[string]any{
			"id": idText + i, "content": content, "single_word": false, "lstrip": false,
			"rstrip": false, "normalized": i >= tokens-idText, "special": i < special,
		})
	}
	const split = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|` +
		` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	byteLevel := map[string]any{
		"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
	}
	data, err := json.Marshal(map[string]any{
		"post_processor": post,
		"version":        "1.0", "added_tokens": added, "normalizer": map[string]any{"type": "NFC"},
		"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []any{
			map[string]any{
				"type": "Split", "pattern": map[string]any{"Regex": split},
				"behavior": "Isolated", "invert": false,
			}, byteLevel,
		}},
		"decoder": byteLevel,
		"model":   map[string]any{"type": "BPE", "vocab": vocab, "merges": merges},
	})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Parse(data, "test")
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// chatML renders turns as Qwen3 does; think leaves a block of reasoning open.
const chatML = `{%- for m in messages %}
    {{- '<|im_start|>' + m.role + '\n' }}
    {%- if m.reasoning_content %}{{- '<think>' + m.reasoning_content + '</think>' }}{%- endif %}
    {{- m.content or '' }}
    {%- for c in m.tool_calls or [] %}
        {{- '<tool_call>' + c.function.name + ' ' }}
        {{- c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}
        {{- '</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- for t in tools or [] %}{{ t | tojson }}{%- endfor %}
{%- if fail %}{{ raise_exception('no ' + fail) }}{%- endif %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if think or enable_thinking %}{{- '<think>\n' }}{%- endif %}
    {%- if enable_thinking is false %}{{- '<think></think>' }}{%- endif %}
{%- endif %}`

// fakeEngine answers every request with what script returns.
type fakeEngine struct {
	tokenizer *tokenizer.Tokenizer
	ready     error
	script    func(r engine.Request) ([]engine.Event, error)
	hold      bool // leave streams open after the script's events

	mu       sync.Mutex
	requests []engine.Request
	contexts []context.Context
}

// Submit implements Engine.
func (e *fakeEngine) Submit(ctx context.Context, r engine.Request) (<-chan engine.Event, error) {
	e.mu.Lock()
	e.requests = append(e.requests, r)
	e.contexts = append(e.contexts, ctx)
	e.mu.Unlock()
	script, err := e.script(r)
	if err != nil {
		return nil, err
	}
	events := make(chan engine.Event, len(script))
	for _, event := range script {
		events <- event
	}
	if !e.hold {
		close(events)
	}
	return events, nil
}

// Context implements Engine: fewer positions than the model knows, as when the
// cache is small.
func (e *fakeEngine) Context() int { return 200 }

// Ready implements Engine.
func (e *fakeEngine) Ready() error { return e.ready }

// Stats implements Engine.
func (e *fakeEngine) Stats() engine.Stats {
	return engine.Stats{
		Running: 2, Waiting: 1, PagesUsed: 1, PagesTotal: 4, PagesCached: 2, Preemptions: 3,
		PrefixQueries: 40, PrefixHits: 16, DraftTokens: 5, AcceptedTokens: 4,
	}
}

// last returns the latest request.
func (e *fakeEngine) last(t *testing.T) engine.Request {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.requests) == 0 {
		t.Fatal("the engine got no request")
	}
	return e.requests[len(e.requests)-1]
}

// say returns the events of an answer with the given text, and the stopping
// token or the length limit at its end.
func (e *fakeEngine) say(r engine.Request, text string, finish engine.Finish) []engine.Event {
	var events []engine.Event
	if r.PromptLogprobs {
		first := engine.Event{Token: -1}
		for i, id := range r.Prompt {
			first.Prompt = append(first.Prompt, fakeLogprob(r, id, i))
		}
		events = append(events, first)
	}
	for i, id := range e.tokenizer.Encode(text) {
		event := engine.Event{Token: id}
		if r.Logprobs >= 0 {
			event.Logprob = fakeLogprob(r, id, i)
		}
		events = append(events, event)
	}
	switch finish {
	case engine.FinishStop:
		events = append(events, engine.Event{Token: idEnd, Finish: finish})
	case "":
	default:
		events = append(events, engine.Event{Token: -1, Finish: finish})
	}
	return events
}

func fakeLogprob(r engine.Request, id int32, i int) engine.TokenLogprob {
	l := engine.TokenLogprob{Token: id, Logprob: -0.25 * float32(i+1)}
	for k := range r.Logprobs {
		l.Top = append(l.Top, sample.Alternative{Token: int32('a' + k), Logprob: -0.5 * float32(k+1)})
	}
	return l
}

// newServer returns a Server of the model "test" over e, with every source of
// chance and time fixed, whose answers say text.
func newServer(t testing.TB, text string, change ...func(*Config)) (*Server, *fakeEngine) {
	t.Helper()
	tok := newTokenizer(t)
	template, err := chat.Parse(chatML, "test")
	if err != nil {
		t.Fatal(err)
	}
	e := &fakeEngine{tokenizer: tok}
	e.script = func(r engine.Request) ([]engine.Event, error) {
		return e.say(r, text, engine.FinishStop), nil
	}
	cfg := Config{
		ModelName: "test", Created: time.Unix(1_700_000_000, 0), Tokenizer: tok, Template: template,
		Spec:   &model.Spec{Vocab: 300, MaxPositions: 400, EOS: []int32{idEnd, idText}},
		Engine: e, MaxBody: 4096, MaxChoices: 8, Version: "v1",
	}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return time.Unix(1_750_000_000, 0) }
	s.newID = func() string { return "0123" }
	s.randomSeed = func() uint64 { return 42 }
	return s, e
}

// do sends a request to the handler.
func do(s *Server, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// post sends a body that must be accepted and returns the response.
func post(t *testing.T, s *Server, path, body string) string {
	t.Helper()
	w := do(s, http.MethodPost, path, body)
	if w.Code != http.StatusOK {
		t.Fatalf("%s %s: status %d: %s", path, body, w.Code, w.Body)
	}
	return w.Body.String()
}

// answer returns the content and the reasoning of a response, streamed or not.
func answer(t *testing.T, response string) (content, reasoning, finish string) {
	t.Helper()
	type part struct {
		Content   string `json:"content"`
		Reasoning string `json:"reasoning_content"`
	}
	read := func(data string) {
		var chunk struct {
			Choices []struct {
				Delta, Message part
				Text           string
				Finish         *string `json:"finish_reason"`
			}
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		for _, c := range chunk.Choices {
			content += c.Delta.Content + c.Message.Content + c.Text
			reasoning += c.Delta.Reasoning + c.Message.Reasoning
			if c.Finish != nil {
				finish += *c.Finish
			}
		}
	}
	if !strings.HasPrefix(response, "data: ") {
		read(response)
		return content, reasoning, finish
	}
	for _, line := range strings.Split(response, "\n\n") {
		if data := strings.TrimPrefix(line, "data: "); data != "" && data != "[DONE]" {
			read(data)
		}
	}
	return content, reasoning, finish
}

// decodeChoices returns the choices of a text completion.
func decodeChoices(t testing.TB, response string) []struct{ Text string } {
	t.Helper()
	var r struct{ Choices []struct{ Text string } }
	if err := json.Unmarshal([]byte(response), &r); err != nil || len(r.Choices) == 0 {
		t.Fatalf("%v in %s", err, response)
	}
	return r.Choices
}

// readAll reads a response of a real server.
func readAll(t *testing.T, r *http.Response) string {
	t.Helper()
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// chatBody returns the body of a chat with extra fields.
func chatBody(extra string) string {
	if extra != "" {
		extra = "," + extra
	}
	return fmt.Sprintf(`{"messages":[{"role":"user","content":"hello"}]%s}`, extra)
}
