package openai

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/engine"
)

const (
	chatPath = "/v1/chat/completions"
	textPath = "/v1/completions"
	itemPath = "/v1/responses"
)

// failure is a request and the error that it must get.
type failure struct {
	path, body string
	status     int
	param      string // "" is null
	code       string // "" is null
	message    string // part of it
}

var failures = []failure{
	// The body.
	{chatPath, `{`, 400, "", "invalid_json", "not valid JSON"},
	{chatPath, ``, 400, "", "invalid_json", "not valid JSON"},
	{chatPath, `{} {}`, 400, "", "invalid_json", "not valid JSON"},
	{chatPath, `[]`, 400, "", "invalid_json", "must be a JSON object"},
	{chatPath, `null`, 400, "", "invalid_json", "must be a JSON object"},
	{chatPath, "{\"user\":\"\xff\"}", 400, "", "invalid_json", "not valid UTF-8"},
	{chatPath, chatBody(`"temperature":NaN`), 400, "", "invalid_json", "not valid JSON"},
	{chatPath, chatBody(`"user":"` + strings.Repeat("x", 5000) + `"`), 413, "",
		"request_too_large", "limit of 4096 bytes"},
	// What both endpoints share.
	{chatPath, chatBody(`"model":"gpt"`), 404, "model", "model_not_found", "'gpt' does not exist"},
	{textPath, `{"model":"gpt","prompt":"a"}`, 404, "model", "model_not_found", "'gpt'"},
	{chatPath, chatBody(`"model":7`), 400, "model", "invalid_type", "expected a string"},
	{chatPath, chatBody(`"temperature":-1`), 400, "temperature", "invalid_value", "between 0 and 2"},
	{chatPath, chatBody(`"temperature":"1"`), 400, "temperature", "invalid_type", "a number"},
	{chatPath, chatBody(`"temperature":1e999`), 400, "temperature", "invalid_type", "a number"},
	{chatPath, chatBody(`"top_p":1.1`), 400, "top_p", "invalid_value", "between 0 and 1"},
	{chatPath, chatBody(`"top_k":-2`), 400, "top_k", "invalid_value", "between -1"},
	{chatPath, chatBody(`"top_k":1.5`), 400, "top_k", "invalid_type", "an integer"},
	{chatPath, chatBody(`"min_p":-0.1`), 400, "min_p", "invalid_value", "between 0 and 1"},
	{chatPath, chatBody(`"seed":"x"`), 400, "seed", "invalid_type", "an integer"},
	{chatPath, chatBody(`"repetition_penalty":0`), 400, "repetition_penalty", "invalid_value",
		"between 0.01"},
	{chatPath, chatBody(`"frequency_penalty":3`), 400, "frequency_penalty", "invalid_value",
		"between -2 and 2"},
	{chatPath, chatBody(`"presence_penalty":-3`), 400, "presence_penalty", "invalid_value",
		"between -2 and 2"},
	{chatPath, chatBody(`"logit_bias":{"x":1}`), 400, "logit_bias", "invalid_value", `"x"`},
	{chatPath, chatBody(`"logit_bias":{"269":1}`), 400, "logit_bias", "invalid_value", `"269"`},
	{chatPath, chatBody(`"logit_bias":{"5":101}`), 400, "logit_bias", "invalid_value", "101"},
	{chatPath, chatBody(`"logit_bias":{"5":null}`), 400, "logit_bias", "invalid_type", "to numbers"},
	{chatPath, chatBody(`"logit_bias":{"05":1}`), 400, "logit_bias", "invalid_value", `"05"`},
	{chatPath, chatBody(`"logit_bias":[1]`), 400, "logit_bias", "invalid_type", "an object"},
	{chatPath, chatBody(`"stop":5`), 400, "stop", "invalid_type", "a string or an array"},
	{chatPath, chatBody(`"stop":[""]`), 400, "stop", "invalid_value", "1 to 256 bytes"},
	{chatPath, chatBody(`"stop":["a"` + strings.Repeat(`,"a"`, 16) + `]`), 400, "stop",
		"invalid_value", "at most 16"},
	{chatPath, chatBody(`"stop_token_ids":[null]`), 400, "stop_token_ids[0]", "invalid_value",
		"null"},
	{chatPath, chatBody(`"stop_token_ids":[-1]`), 400, "stop_token_ids[0]", "invalid_value", "-1"},
	{chatPath, chatBody(`"n":0`), 400, "n", "invalid_value", "between 1 and 8"},
	{chatPath, chatBody(`"n":9`), 400, "n", "invalid_value", "between 1 and 8"},
	{chatPath, chatBody(`"stream":"yes"`), 400, "stream", "invalid_type", "a boolean"},
	{chatPath, chatBody(`"stream_options":{}`), 400, "stream_options", "invalid_value", "'stream'"},
	{chatPath, chatBody(`"stream":true,"stream_options":{"include_usage":1}`), 400,
		"stream_options.include_usage", "invalid_type", "a boolean"},
	{chatPath, chatBody(`"ignore_eos":0`), 400, "ignore_eos", "invalid_type", "a boolean"},
	{chatPath, chatBody(`"guided_json":{"items":{"not":{}}}`), 400, "guided_json",
		"unsupported_parameter", `keyword "not" at /items`},
	{chatPath, chatBody(`"guided_json":false`), 400, "guided_json", "invalid_value", "no answer"},
	{chatPath, chatBody(`"guided_json":{},"response_format":{"type":"json_object"}`), 400,
		"response_format", "invalid_value", "'guided_json' says already"},
	{chatPath, chatBody(`"guided_regex":"a\\1"`), 400, "guided_regex", "invalid_value",
		`backreference \1`},
	{chatPath, chatBody(`"structured_outputs":{"grammar":"root ::= a"}`), 400,
		"structured_outputs.grammar", "invalid_value", `the rule "a" is not defined`},
	// Chats.
	{chatPath, `{}`, 400, "messages", "invalid_value", "Missing required"},
	{chatPath, `{"messages":[]}`, 400, "messages", "invalid_value", "empty"},
	{chatPath, `{"messages":{}}`, 400, "messages", "invalid_value", "must be a list"},
	{chatPath, `{"messages":[{"content":"a"}]}`, 400, "messages", "invalid_value",
		"messages[0].role"},
	{chatPath, `{"messages":[{"role":"wizard","content":"a"}]}`, 400, "messages[0].role",
		"invalid_value", `"wizard"`},
	{chatPath, `{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, 400, "messages",
		"invalid_value", `messages[0].content[0].type "image_url"`},
	{chatPath, chatBody(`"max_tokens":0`), 400, "max_tokens", "invalid_value", "between 1"},
	{chatPath, chatBody(`"max_completion_tokens":-1`), 400, "max_completion_tokens",
		"invalid_value", "between 1"},
	{chatPath, chatBody(`"max_tokens":200`), 400, "messages", "context_length_exceeded",
		"maximum context length is 200 tokens"},
	{chatPath, fmt.Sprintf(`{"messages":[{"role":"user","content":"%s"}]}`,
		strings.Repeat("a", 200)), 400, "messages", "context_length_exceeded", "no room"},
	{chatPath, chatBody(`"top_logprobs":2`), 400, "top_logprobs", "invalid_value", "'logprobs'"},
	{chatPath, chatBody(`"logprobs":true,"top_logprobs":21`), 400, "top_logprobs", "invalid_value",
		"between 0 and 20"},
	{chatPath, chatBody(`"logprobs":3`), 400, "logprobs", "invalid_type", "a boolean"},
	{chatPath, chatBody(`"tools":[{"type":"retrieval"}]`), 400, "tools[0].type",
		"unsupported_parameter", `"retrieval"`},
	{chatPath, chatBody(`"tools":[{"type":"function"}]`), 400, "tools[0].function.name",
		"invalid_value", "Missing"},
	{chatPath, chatBody(`"tools":"x"`), 400, "tools", "invalid_type", "an array"},
	{chatPath, chatBody(`"response_format":{"type":"xml"}`), 400, "response_format.type",
		"unsupported_parameter", `"xml"`},
	{chatPath, chatBody(`"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":` +
		`{"type":"object","properties":{"a":{"uniqueItems":true}}}}}`), 400,
		"response_format.json_schema.schema", "unsupported_parameter",
		`keyword "uniqueItems" at /properties/a`},
	{chatPath, chatBody(`"audio":{"voice":"x"}`), 400, "audio", "unsupported_parameter", "'audio'"},
	{chatPath, chatBody(`"modalities":["text","audio"]`), 400, "modalities",
		"unsupported_parameter", "'modalities'"},
	{chatPath, chatBody(`"functions":[{"name":"f"}]`), 400, "functions", "unsupported_parameter",
		"'functions'"},
	{chatPath, chatBody(`"chat_template_kwargs":{"messages":[]}`), 400, "chat_template_kwargs",
		"invalid_value", "messages is not allowed"},
	{chatPath, chatBody(`"chat_template_kwargs":[]`), 400, "chat_template_kwargs", "invalid_type",
		"an object"},
	{chatPath, chatBody(`"chat_template_kwargs":{"fail":"way"}`), 400, "messages", "invalid_value",
		"no way"},
	// Calls of functions.
	{chatPath, chatBody(`"tool_choice":"required","tools":[{"type":"function","function":{"name":"f"}},` +
		`{"type":"function","function":{"name":"g","parameters":{"not":{}}}}]`), 400,
		"tools[1].function.parameters", "unsupported_parameter", `keyword "not"`},
	{chatPath, chatBody(`"tool_choice":{"type":"function","function":{"name":"g"}},"tools":[{"type":` +
		`"function","function":{"name":"f"}},{"type":"function","function":{"name":"g","parameters":` +
		`{"not":{}}}}]`), 400, "tools[1].function.parameters", "unsupported_parameter", `keyword "not"`},
	{chatPath, chatBody(`"tools":[{"type":"function","function":{"name":"g","strict":true,"parameters":` +
		`{"not":{}}}}]`), 400, "tools[0].function.parameters", "unsupported_parameter", `keyword "not"`},
	{chatPath, chatBody(`"tools":[{"type":"function","function":{"name":"f","parameters":[]}}]`), 400,
		"tools[0].function.parameters", "invalid_type", "an object"},
	{chatPath, chatBody(`"tools":[{"type":"function","function":{"name":"` + strings.Repeat("f", 257) +
		`"}}]`), 400, "tools[0].function.name", "invalid_value", "at most 256"},
	{chatPath, chatBody(`"tools":[{"type":"function","function":{"name":"a b"}}]`), 400,
		"tools[0].function.name", "invalid_value", "white space"},
	{itemPath, inputBody(`"tools":[{"type":"function","name":"a</tool_call>"}]`), 400,
		"tools[0].name", "invalid_value", "</tool_call>"},
	{chatPath, chatBody(`"tool_choice":"required"`), 400, "tool_choice", "invalid_value",
		"no 'tools'"},
	{chatPath, chatBody(`"tool_choice":"any",` + oneTool), 400, "tool_choice", "invalid_value",
		`"any"`},
	{chatPath, chatBody(`"tool_choice":7,` + oneTool), 400, "tool_choice", "invalid_type",
		"a string or an object"},
	{chatPath, chatBody(`"tool_choice":{"type":"custom"},` + oneTool), 400, "tool_choice.type",
		"unsupported_parameter", `"custom"`},
	{chatPath, chatBody(`"tool_choice":{"type":"function"},` + oneTool), 400, "tool_choice",
		"invalid_value", "names no function"},
	{chatPath, chatBody(`"tool_choice":{"type":"function","function":{"name":"g"}},` + oneTool), 400,
		"tool_choice", "invalid_value", `"g"`},
	{chatPath, chatBody(`"parallel_tool_calls":1`), 400, "parallel_tool_calls", "invalid_type",
		"a boolean"},
	{chatPath, historyBody(`{}`), 400, "messages[0].tool_calls", "invalid_type", "an array"},
	{chatPath, historyBody(`[1]`), 400, "messages[0].tool_calls[0]", "invalid_type", "an object"},
	{chatPath, historyBody(`[{"id":1}]`), 400, "messages[0].tool_calls[0].id", "invalid_type",
		"a string"},
	{chatPath, historyBody(`[{"type":"custom"}]`), 400, "messages[0].tool_calls[0].type",
		"unsupported_parameter", "function"},
	{chatPath, historyBody(`[{"id":"a"}]`), 400, "messages[0].tool_calls[0].function",
		"invalid_type", "an object"},
	{chatPath, historyBody(`[{"function":{}}]`), 400, "messages[0].tool_calls[0].function.name",
		"invalid_value", "Missing"},
	{chatPath, historyBody(`[{"function":{"name":"f","arguments":1}}]`), 400,
		"messages[0].tool_calls[0].function.arguments", "invalid_type", "a string"},
	{chatPath, `{"messages":[{"role":"tool","content":"a","tool_call_id":1}]}`, 400,
		"messages[0].tool_call_id", "invalid_type", "a string"},
	// Reasoning.
	{chatPath, chatBody(`"reasoning_effort":"extreme"`), 400, "reasoning_effort", "invalid_value",
		`"extreme"`},
	{chatPath, chatBody(`"reasoning":"low"`), 400, "reasoning", "invalid_type", "an object"},
	{chatPath, chatBody(`"reasoning":{"effort":1}`), 400, "reasoning.effort", "invalid_type",
		"a string"},
	{chatPath, chatBody(`"reasoning":{"effort":"x"}`), 400, "reasoning.effort", "invalid_value",
		`"x"`},
	{chatPath, chatBody(`"thinking":{"type":"maybe"}`), 400, "thinking.type", "invalid_value",
		`"maybe"`},
	{chatPath, chatBody(`"thinking":{"type":"enabled","budget_tokens":-1}`), 400,
		"thinking.budget_tokens", "invalid_value", "'thinking.budget_tokens'"},
	{chatPath, chatBody(`"enable_thinking":"yes"`), 400, "enable_thinking", "invalid_type",
		"a boolean"},
	{chatPath, chatBody(`"thinking_budget":-1`), 400, "thinking_budget", "invalid_value",
		"between 0"},
	// Responses.
	{itemPath, `{}`, 400, "input", "invalid_value", "Missing required"},
	{itemPath, `{"input":5}`, 400, "input", "invalid_type", "a string or an array"},
	{itemPath, `{"input":[]}`, 400, "input", "invalid_value", "says nothing"},
	{itemPath, `{"input":[5]}`, 400, "input[0]", "invalid_type", "an item"},
	{itemPath, `{"input":[{"type":"computer_call"}]}`, 400, "input[0].type",
		"unsupported_parameter", `"computer_call"`},
	{itemPath, `{"input":[{"role":"wizard","content":"a"}]}`, 400, "input[0].role",
		"invalid_value", `"wizard"`},
	{itemPath, `{"input":[{"role":"user","content":5}]}`, 400, "input[0].content",
		"invalid_type", "array of parts"},
	{itemPath, `{"input":[{"role":"user","content":[{"type":"input_image"}]}]}`, 400,
		"input[0].content[0].type", "unsupported_parameter", `"input_image"`},
	{itemPath, `{"input":[{"type":"function_call","name":"f"}]}`, 400, "input[0].call_id",
		"invalid_value", "Missing"},
	{itemPath, `{"input":[{"type":"function_call","call_id":"f"}]}`, 400, "input[0].name",
		"invalid_value", "Missing"},
	{itemPath, `{"input":[{"role":"user","content":"a"},{"type":"function_call_output",` +
		`"call_id":"c","output":"1"}]}`, 400, "input[1].call_id", "invalid_value", `"c"`},
	{itemPath, inputBody(`"previous_response_id":"resp_1"`), 404, "previous_response_id",
		"previous_response_not_found", "'resp_1' not found"},
	{itemPath, inputBody(`"background":true`), 400, "background", "unsupported_parameter", ""},
	{itemPath, inputBody(`"conversation":"c"`), 400, "conversation", "unsupported_parameter", ""},
	{itemPath, inputBody(`"prompt":{"id":"p"}`), 400, "prompt", "unsupported_parameter", ""},
	{itemPath, inputBody(`"truncation":"auto"`), 400, "truncation", "unsupported_parameter", ""},
	{itemPath, inputBody(`"include":["file_search_call.results"]`), 400, "include",
		"unsupported_parameter", ""},
	{itemPath, inputBody(`"text":{"format":{"type":"json_schema","schema":{"not":{}}}}`), 400,
		"text.format.schema", "unsupported_parameter", `keyword "not"`},
	{itemPath, inputBody(`"text":{"verbosity":"low"}`), 400, "text.verbosity",
		"unsupported_parameter", ""},
	{itemPath, inputBody(`"n":2`), 400, "n", "unsupported_parameter", ""},
	{itemPath, inputBody(`"top_logprobs":2`), 400, "top_logprobs", "unsupported_parameter", ""},
	{itemPath, inputBody(`"max_output_tokens":0`), 400, "max_output_tokens", "invalid_value",
		"between 1"},
	{itemPath, inputBody(`"max_output_tokens":200`), 400, "input", "context_length_exceeded", "200"},
	{itemPath, inputBody(`"store":1`), 400, "store", "invalid_type", "a boolean"},
	{itemPath, inputBody(`"instructions":1`), 400, "instructions", "invalid_type", "a string"},
	{itemPath, inputBody(`"metadata":{"a":1}`), 400, "metadata", "invalid_type", "of strings"},
	{itemPath, inputBody(`"metadata":{"a":"` + strings.Repeat("x", 513) + `"}`), 400, "metadata",
		"invalid_value", "512"},
	{itemPath, inputBody(`"tools":[{"type":"web_search"}]`), 400, "tools[0].type",
		"unsupported_parameter", `"web_search"`},
	{itemPath, inputBody(`"tools":[{"type":"function"}]`), 400, "tools[0].name", "invalid_value",
		"Missing"},
	{itemPath, inputBody(`"tool_choice":{"type":"allowed_tools"}`), 400, "tool_choice.type",
		"unsupported_parameter", `"allowed_tools"`},
	// Text completions.
	{textPath, `{}`, 400, "prompt", "invalid_value", "Missing required"},
	{textPath, `{"prompt":""}`, 400, "prompt", "invalid_value", "empty"},
	{textPath, `{"prompt":[]}`, 400, "prompt", "invalid_value", "empty"},
	{textPath, `{"prompt":[[]]}`, 400, "prompt", "invalid_value", "empty"},
	{textPath, `{"prompt":{}}`, 400, "prompt", "invalid_type", "a string"},
	{textPath, `{"prompt":["a",null]}`, 400, "prompt", "invalid_type", "a string"},
	{textPath, `{"prompt":[1,"a"]}`, 400, "prompt[1]", "invalid_value", `"a"`},
	{textPath, `{"prompt":[[1,269]]}`, 400, "prompt[0][1]", "invalid_value", "269"},
	{textPath, `{"prompt":[1,null]}`, 400, "prompt[1]", "invalid_value", "null"},
	{textPath, `{"prompt":[null]}`, 400, "prompt", "invalid_type", "a string"},
	{textPath, `{"prompt":[-1]}`, 400, "prompt[0]", "invalid_value", "-1"},
	{textPath, `{"prompt":["a","a","a","a","a","a","a","a","a"]}`, 400, "prompt", "invalid_value",
		"at most 8"},
	{textPath, `{"prompt":["a","b","c"],"n":3}`, 400, "n", "invalid_value", "limit of 8"},
	{textPath, `{"prompt":"a","suffix":"b"}`, 400, "suffix", "unsupported_parameter", "'suffix'"},
	{textPath, `{"prompt":"a","best_of":2}`, 400, "best_of", "unsupported_parameter", "'best_of'"},
	{textPath, `{"prompt":"a","logprobs":21}`, 400, "logprobs", "invalid_value", "0 and 20"},
	{textPath, `{"prompt":"a","logprobs":true}`, 400, "logprobs", "invalid_type", "an integer"},
	{textPath, `{"prompt":"a","max_tokens":0}`, 400, "max_tokens", "invalid_value", "'echo'"},
	{textPath, `{"prompt":"a","max_tokens":-1}`, 400, "max_tokens", "invalid_value", "between 0"},
	{textPath, `{"prompt":"a","max_tokens":200}`, 400, "prompt", "context_length_exceeded", "200"},
	{"/tokenize", `{}`, 400, "prompt", "invalid_value", "Missing required"},
	{"/detokenize", `{"tokens":["a"]}`, 400, "tokens[0]", "invalid_value", `"a"`},
}

// oneTool offers the function f.
const oneTool = `"tools":[{"type":"function","function":{"name":"f"}}]`

// historyBody returns the body of a chat whose assistant has made calls.
func historyBody(calls string) string {
	return `{"messages":[{"role":"assistant","content":"","tool_calls":` + calls + `}]}`
}

// inputBody returns the body of a request for a response with extra fields.
func inputBody(extra string) string {
	return strings.Replace(chatBody(extra), `"messages":[{"role":"user","content":"hello"}]`,
		`"input":"hello"`, 1)
}

func TestRequestErrors(t *testing.T) {
	s, e := newServer(t, "unreachable")
	for _, f := range failures {
		w := do(s, http.MethodPost, f.path, f.body)
		if w.Code != f.status {
			t.Errorf("%s %s: status %d, want %d: %s", f.path, f.body, w.Code, f.status, w.Body)
			continue
		}
		got := decodeError(t, w)
		if got.Type != typeInvalid || got.Param != f.param || got.Code != f.code ||
			!strings.Contains(got.Message, f.message) {
			t.Errorf("%s %s: %+v, want param %q, code %q and a message with %q",
				f.path, f.body, got, f.param, f.code, f.message)
		}
	}
	if len(e.requests) > 0 {
		t.Errorf("a refused request reached the engine: %+v", e.requests)
	}
}

// errorBody is the error of a response; null is "".
type errorBody struct{ Message, Type, Param, Code string }

// decodeError checks the shape of an error and returns it.
func decodeError(t testing.TB, w *httptest.ResponseRecorder) errorBody {
	t.Helper()
	if kind := w.Header().Get("Content-Type"); kind != "application/json" {
		t.Errorf("content type %q", kind)
	}
	body, err := parseError(w.Body.Bytes())
	if err != nil {
		t.Errorf("%v: %s", err, w.Body)
	}
	return body
}

func TestExactErrors(t *testing.T) {
	noTemplate := func(c *Config) { c.Template = nil }
	cases := []struct {
		method, path, body string
		change             func(*Config)
		submit             error
		ready              error
		status             int
		want               string
	}{
		{method: "GET", path: "/v2", status: 404, want: `{"error":{"message":"Unknown request URL: ` +
			`GET /v2.","type":"invalid_request_error","param":null,"code":"unknown_url"}}`},
		{method: "DELETE", path: chatPath, status: 405, want: `{"error":{"message":"Not allowed to ` +
			`DELETE on /v1/chat/completions.","type":"invalid_request_error","param":null,` +
			`"code":"method_not_supported"}}`},
		{method: "GET", path: "/v1/models/a/b", status: 404, want: `{"error":{"message":"The model ` +
			`'a/b' does not exist; this server has 'test'.","type":"invalid_request_error",` +
			`"param":"model","code":"model_not_found"}}`},
		{method: "POST", path: chatPath, body: chatBody(""), change: noTemplate, status: 400,
			want: `{"error":{"message":"The model 'test' has no chat template: use ` +
				`/v1/completions.","type":"invalid_request_error","param":"messages",` +
				`"code":"unsupported_parameter"}}`},
		{method: "POST", path: chatPath, body: chatBody(""), status: 429,
			submit: engine.ErrQueueFull,
			want: `{"error":{"message":"too many requests are waiting","type":"rate_limit_error",` +
				`"param":null,"code":"rate_limit_exceeded"}}`},
		{method: "POST", path: chatPath, body: chatBody(""), status: 503,
			submit: engine.ErrDraining,
			want: `{"error":{"message":"the coordinator is shutting down","type":"server_error",` +
				`"param":null,"code":"draining"}}`},
		{method: "POST", path: chatPath, body: chatBody(""), status: 400,
			submit: fmt.Errorf("%w: no page is free", engine.ErrTooLong),
			want: `{"error":{"message":"prompt is too long: no page is free",` +
				`"type":"invalid_request_error","param":"messages",` +
				`"code":"context_length_exceeded"}}`},
		{method: "POST", path: textPath, body: `{"prompt":"a"}`, status: 400,
			submit: fmt.Errorf("%w: token 9", engine.ErrInvalid),
			want: `{"error":{"message":"invalid request: token 9",` +
				`"type":"invalid_request_error","param":null,"code":null}}`},
		{method: "POST", path: chatPath, body: chatBody(""), status: 503,
			submit: &engine.UnavailableError{Reason: "layer 2 <3>"},
			want: `{"error":{"message":"experts unavailable: layer 2 <3>","type":"server_error",` +
				`"param":null,"code":"experts_unavailable"}}`},
		{method: "POST", path: chatPath, body: chatBody(`"stream":true`), status: 500,
			submit: errors.New("disk on fire"),
			want: `{"error":{"message":"disk on fire","type":"server_error","param":null,` +
				`"code":"internal_error"}}`},
		{method: "GET", path: "/readyz", status: 503, ready: errors.New("loading"),
			want: `{"error":{"message":"loading","type":"server_error","param":null,` +
				`"code":"not_ready"}}`},
	}
	for _, c := range cases {
		if c.change == nil {
			c.change = func(*Config) {}
		}
		s, e := newServer(t, "hello", c.change)
		e.ready = c.ready
		if c.submit != nil {
			e.script = func(engine.Request) ([]engine.Event, error) { return nil, c.submit }
		}
		w := do(s, c.method, c.path, c.body)
		if w.Code != c.status || w.Body.String() != c.want+"\n" {
			t.Errorf("%s %s: %d %swant %d %s", c.method, c.path, w.Code, w.Body, c.status, c.want)
		}
		wantRetry := c.status == 429 || c.status == 503
		if (w.Header().Get("Retry-After") != "") != wantRetry {
			t.Errorf("%s %s: Retry-After %q", c.method, c.path, w.Header().Get("Retry-After"))
		}
	}
}

// TestNotReadyIsSubmitted leaves it to the engine how long a request waits for
// experts that are out of reach just now.
func TestNotReadyIsSubmitted(t *testing.T) {
	s, e := newServer(t, "hello", func(*Config) {})
	e.ready = errors.New("2 experts have no worker")
	if w := do(s, "POST", chatPath, chatBody("")); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestLateErrors fails after some text: a plain response still gets its status,
// a stream ends with the error and without the end marker.
func TestLateErrors(t *testing.T) {
	for name, last := range map[string]engine.Event{
		"experts_unavailable": {Token: -1, Finish: engine.FinishError,
			Err: &engine.UnavailableError{Reason: "layer 3"}},
		"cancelled":      {Token: -1, Finish: engine.FinishCancelled},
		"internal_error": {Token: -1}, // the channel is closed without a final event
	} {
		s, e := newServer(t, "")
		e.script = func(r engine.Request) ([]engine.Event, error) {
			return append(e.say(r, "hello", ""), last), nil
		}
		w := do(s, http.MethodPost, chatPath, chatBody(""))
		if got := decodeError(t, w); got.Code != name || w.Code < 500 {
			t.Errorf("%s: status %d, %+v", name, w.Code, got)
		}
		w = do(s, http.MethodPost, chatPath, chatBody(`"stream":true`))
		events := strings.Split(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n")
		data := strings.TrimPrefix(events[len(events)-1], "data: ")
		got, err := parseError([]byte(data))
		if w.Code != 200 || err != nil || got.Code != name {
			t.Errorf("%s: status %d, last event %s (%v)", name, w.Code, data, err)
		}
		if strings.Contains(w.Body.String(), "[DONE]") {
			t.Errorf("%s: a failed stream claims to be done", name)
		}
	}
}
