package openai

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// kind is a type that a field's value must have.
type kind string

const (
	text    kind = "a string"
	boolean kind = "a boolean"
	number  kind = "a number"
	integer kind = "an integer"
	object  kind = "an object"
	array   kind = "an array"
	refused kind = "nothing but what changes nothing"
	mixed   kind = "one of several types"
)

// wrong holds values that are of another type.
var wrong = map[kind][]string{
	text:    {`1`, `true`, `[]`, `{}`},
	boolean: {`1`, `"true"`, `[]`, `{}`},
	number:  {`"1"`, `true`, `[]`, `{}`, `1e999`},
	integer: {`"1"`, `true`, `[]`, `{}`, `1.5`, `1e999`},
	object:  {`1`, `"x"`, `true`, `[]`},
	array:   {`1`, `"x"`, `true`, `{}`},
	refused: {`1`, `"x"`, `true`, `["x"]`, `{"x":1}`},
}

// endpoints by the letters that stand for them in knownFields, with a body of
// each that is accepted.
var endpoints = map[rune]struct{ path, body string }{
	'c': {chatPath, `"messages":[{"role":"user","content":"hello"}]`},
	't': {textPath, `"prompt":"hello"`},
	'r': {itemPath, `"input":"hello"`},
	'k': {"/tokenize", `"messages":[{"role":"user","content":"hello"}]`},
	'p': {"/tokenize", `"prompt":"hello"`},
	'd': {"/detokenize", `"tokens":[1]`},
}

// knownField is a field that endpoints know, in every way to get it wrong.
type knownField struct {
	in   string // endpoints
	name string // with a point before the name within an object
	kind kind
	bad  []string // of the right type, yet refused
	good []string // accepted
	with string   // other fields, without which it would be refused anyway

	beside   string // other fields of the object that it is in, likewise
	required bool   // it may not be null
}

const (
	chatTools = `[{"type":"function","function":{"name":"f"}}]`
	flatTools = `[{"type":"function","name":"f"}]`
)

// long returns a string of so many bytes, as JSON.
func long(bytes int) string { return `"` + strings.Repeat("x", bytes) + `"` }

// repeat returns an array with so many times the same item.
func repeat(item string, count int) string {
	return "[" + strings.TrimSuffix(strings.Repeat(item+",", count), ",") + "]"
}

// Values of fields that hold JSON schemas.
var (
	goodSchemas = []string{`{"type":"object"}`, `true`, `"{\"type\": \"string\"}"`}
	badSchemas  = []string{`1`, `"x"`, `[]`, `""`, `{"not":{}}`, `{"type":"x"}`, `false`,
		`{"properties":{"a":{"minContains":1,"contains":{}}}}`}
)

var knownFields = []knownField{
	{in: "ctrkpd", name: "model", kind: text, good: []string{`"test"`}},
	// Sampling.
	{in: "ctr", name: "temperature", kind: number, bad: []string{`-0.1`, `2.1`},
		good: []string{`0`, `2`}},
	{in: "ctr", name: "top_p", kind: number, bad: []string{`-0.1`, `1.1`}, good: []string{`0`, `1`}},
	{in: "ctr", name: "typical_p", kind: number, bad: []string{`-0.1`, `1.1`},
		good: []string{`0`, `1`}},
	{in: "ctr", name: "min_p", kind: number, bad: []string{`-0.1`, `1.1`}, good: []string{`0`, `1`}},
	{in: "ctr", name: "top_k", kind: integer, bad: []string{`-2`, `99999999999`},
		good: []string{`-1`, `5`, `5.0`}},
	{in: "ctr", name: "seed", kind: integer, good: []string{`-1`, `99999999999999999999`}},
	{in: "ctr", name: "repetition_penalty", kind: number, bad: []string{`0`, `-1`, `101`},
		good: []string{`1.5`}},
	{in: "ctr", name: "frequency_penalty", kind: number, bad: []string{`-2.1`, `2.1`},
		good: []string{`-2`}},
	{in: "ctr", name: "presence_penalty", kind: number, bad: []string{`-2.1`, `2.1`},
		good: []string{`2`}},
	{in: "ctr", name: "logit_bias", kind: object, good: []string{`{}`, `{"5":-100}`},
		bad: []string{`{"x":1}`, `{"-1":1}`, `{"269":1}`, `{"05":1}`, `{"5":101}`, `{"5":null}`,
			`{"5":"1"}`}},
	{in: "ctr", name: "allowed_token_ids", kind: array, good: []string{`[1]`, `[264,5]`},
		bad: []string{`[]`, `["1"]`, `[-1]`, `[269]`, `[null]`, `[1.5]`, `[[1]]`}},
	{in: "ctr", name: "bad_words", kind: array, good: []string{`[]`, `["a","b c"," "]`},
		bad: []string{`[""]`, `[1]`, `[null]`, "[" + long(257) + "]", repeat(`"a"`, 257)}},
	{in: "ctr", name: "n", kind: integer, bad: []string{`0`, `9`, `-1`}, good: []string{`1`}},
	{in: "ct", name: "n", kind: integer, good: []string{`8`}},
	{in: "r", name: "n", kind: mixed, bad: []string{`2`}},
	// The end.
	{in: "ctr", name: "stop", kind: mixed, good: []string{`"a"`, `[]`, `["a","b"]`},
		bad: []string{`1`, `true`, `{}`, `""`, `[""]`, `[1]`, `[null]`, long(257), repeat(`"a"`, 17)}},
	{in: "ctr", name: "include_stop_str_in_output", kind: boolean, good: []string{`true`}},
	{in: "ctr", name: "stop_token_ids", kind: array, good: []string{`[]`, `[1,2]`},
		bad: []string{`["1"]`, `[-1]`, `[269]`, `[null]`, repeat(`1`, 17)}},
	{in: "ctr", name: "ignore_eos", kind: boolean, good: []string{`true`}},
	{in: "ctr", name: "min_tokens", kind: integer, bad: []string{`-1`, `200`},
		good: []string{`0`, `3`}},
	{in: "c", name: "max_tokens", kind: integer, bad: []string{`0`, `-1`}, good: []string{`5`}},
	{in: "c", name: "max_completion_tokens", kind: integer, bad: []string{`0`, `-1`},
		good: []string{`5`}},
	{in: "t", name: "max_tokens", kind: integer, bad: []string{`0`, `-1`}, good: []string{`5`}},
	{in: "r", name: "max_output_tokens", kind: integer, bad: []string{`0`, `-1`},
		good: []string{`5`}},
	// What is answered, and how.
	{in: "ctr", name: "stream", kind: boolean, good: []string{`false`, `true`}},
	{in: "ctr", name: "stream_options", kind: object, good: []string{`{}`}, with: `"stream":true`},
	{in: "ctr", name: "stream_options", kind: mixed, bad: []string{`{}`}},
	{in: "ctr", name: "stream_options.include_usage", kind: boolean, good: []string{`true`},
		with: `"stream":true`},
	{in: "ctr", name: "stream_options.continuous_usage_stats", kind: boolean, good: []string{`true`},
		with: `"stream":true`},
	{in: "c", name: "logprobs", kind: boolean, good: []string{`true`}},
	{in: "c", name: "top_logprobs", kind: integer, bad: []string{`-1`, `21`}, good: []string{`20`},
		with: `"logprobs":true`},
	{in: "c", name: "top_logprobs", kind: mixed, bad: []string{`1`}, good: []string{`0`}},
	{in: "t", name: "logprobs", kind: integer, bad: []string{`-1`, `21`}, good: []string{`0`}},
	{in: "r", name: "top_logprobs", kind: refused, good: []string{`0`}},
	{in: "ct", name: "prompt_logprobs", kind: integer, bad: []string{`-1`, `21`},
		good: []string{`0`, `20`}},
	{in: "ct", name: "prompt_logprobs", kind: mixed, bad: []string{`0`}, with: `"stream":true`},
	{in: "ct", name: "truncate_prompt_tokens", kind: integer, bad: []string{`-2`, `0`},
		good: []string{`-1`, `2`}},
	{in: "ct", name: "return_token_ids", kind: boolean, good: []string{`true`}},
	{in: "ct", name: "return_tokens_as_token_ids", kind: boolean, good: []string{`true`}},
	{in: "r", name: "prompt_logprobs", kind: refused},
	{in: "r", name: "truncate_prompt_tokens", kind: refused, good: []string{`-1`}},
	{in: "r", name: "return_token_ids", kind: boolean, bad: []string{`true`}, good: []string{`false`}},
	{in: "r", name: "return_tokens_as_token_ids", kind: boolean, bad: []string{`true`},
		good: []string{`false`}},
	{in: "ctr", name: "skip_special_tokens", kind: boolean, good: []string{`false`}},
	{in: "ctr", name: "spaces_between_special_tokens", kind: boolean, good: []string{`false`}},
	// Scheduling, and what changes nothing.
	{in: "ctr", name: "priority", kind: integer, bad: []string{`2147483648`}, good: []string{`-5`}},
	{in: "ctr", name: "cache_salt", kind: text, bad: []string{`""`, long(513)},
		good: []string{`"s"`}},
	{in: "ctr", name: "user", kind: text, good: []string{`"u"`}},
	{in: "ctr", name: "service_tier", kind: text, good: []string{`"auto"`}},
	{in: "ctr", name: "safety_identifier", kind: text, good: []string{`"i"`}},
	{in: "ctr", name: "prompt_cache_key", kind: text, good: []string{`"k"`}},
	{in: "ctr", name: "store", kind: boolean, good: []string{`false`, `true`}},
	{in: "ctr", name: "metadata", kind: object, good: []string{`{}`, `{"a":"b"}`},
		bad: []string{`{"a":1}`, `{"a":` + long(513) + `}`, `{` + long(65) + `:"a"}`}},
	{in: "ctr", name: "use_beam_search", kind: refused, good: []string{`false`}},
	// What an answer must be.
	{in: "ctr", name: "guided_json", kind: mixed, bad: badSchemas, good: goodSchemas},
	{in: "ctr", name: "guided_regex", kind: text, bad: []string{`"("`, `"\\bx"`, `"a(?=b)"`},
		good: []string{`"a+"`, `""`}},
	{in: "ctr", name: "guided_choice", kind: array, bad: []string{`[]`, `[1]`, `[""]`, `[null]`},
		good: []string{`["a","b"]`}},
	{in: "ctr", name: "guided_grammar", kind: text, bad: []string{`""`, `"root"`, `"root ::= x"`},
		good: []string{`"root ::= \"a\""`}},
	{in: "ctr", name: "guided_decoding_backend", kind: text, good: []string{`"xgrammar"`}},
	{in: "ctr", name: "guided_whitespace_pattern", kind: refused},
	{in: "ctr", name: "structured_outputs", kind: object, good: []string{`{}`}},
	{in: "ctr", name: "structured_outputs.json", kind: mixed, bad: badSchemas, good: goodSchemas},
	{in: "ctr", name: "structured_outputs.regex", kind: text, bad: []string{`"("`},
		good: []string{`"a+"`}},
	{in: "ctr", name: "structured_outputs.choice", kind: array, bad: []string{`[]`, `[1]`},
		good: []string{`["a"]`}},
	{in: "ctr", name: "structured_outputs.grammar", kind: text, bad: []string{`"root"`},
		good: []string{`"root ::= [a-c]"`}},
	{in: "ctr", name: "structured_outputs.json_object", kind: boolean, good: []string{`true`},
		bad: []string{`true,"regex":"a"`}},
	{in: "ctr", name: "structured_outputs.structural_tag", kind: refused},
	{in: "ctr", name: "structured_outputs.whitespace_pattern", kind: refused},
	{in: "ctr", name: "structured_outputs.disable_fallback", kind: refused, good: []string{`false`}},
	{in: "ctr", name: "structured_outputs.disable_any_whitespace", kind: refused,
		good: []string{`false`}},
	{in: "ctr", name: "structured_outputs.disable_additional_properties", kind: refused,
		good: []string{`false`}},
	{in: "ct", name: "response_format", kind: object, good: []string{`{"type": "text"}`,
		`{"type":"json_object"}`, `{"type":"json_schema","json_schema":{"name":"a","strict":true,` +
			`"schema":{"type":"object"}}}`},
		bad: []string{`{}`, `{"type":1}`, `{"type":"xml"}`, `{"type":"json_schema"}`,
			`{"type":"json_schema","json_schema":1}`, `{"type":"json_schema","json_schema":{}}`,
			`{"type":"json_schema","json_schema":{"name":1,"schema":{}}}`,
			`{"type":"json_schema","json_schema":{"strict":"x","schema":{}}}`,
			`{"type":"json_schema","json_schema":{"schema":"x"}}`,
			`{"type":"json_schema","json_schema":{"schema":{"if":{}}}}`}},
	// Chats.
	{in: "c", name: "messages", required: true, kind: array, bad: []string{`[]`, `[1]`, `[{}]`,
		`[{"role":"wizard","content":"a"}]`, `[{"role":1}]`, `[{"role":"user","content":1}]`,
		`[{"role":"user","content":[{"type":"image_url"}]}]`,
		`[{"role":"tool","content":"a","tool_call_id":1}]`,
		`[{"role":"assistant","tool_calls":[{"id":1}]}]`}},
	{in: "k", name: "messages", required: true, kind: array, bad: []string{`[]`, `[1]`, `[{"role":"wizard"}]`}},
	{in: "ck", name: "tools", kind: array, good: []string{`[]`, chatTools},
		bad: []string{`[1]`, `[{}]`, `[{"type":"retrieval"}]`, `[{"type":"function"}]`}},
	{in: "r", name: "tools", kind: array, good: []string{`[]`, flatTools},
		bad: []string{`[1]`, `[{}]`, `[{"type":"web_search"}]`, `[{"type":"function"}]`}},
	{in: "ck", name: "tool_choice", kind: mixed, with: `"tools":` + chatTools,
		good: []string{`"auto"`, `"none"`, `{"type":"function","function":{"name":"f"}}`},
		bad: []string{`1`, `true`, `[]`, `{}`, `"any"`, `{"type":"function"}`,
			`{"type":"function","function":{"name":"g"}}`}},
	{in: "r", name: "tool_choice", kind: mixed, with: `"tools":` + flatTools,
		good: []string{`"auto"`, `{"type":"function","name":"f"}`},
		bad:  []string{`1`, `[]`, `"any"`, `{"type":"allowed_tools"}`}},
	{in: "crk", name: "parallel_tool_calls", kind: boolean, good: []string{`false`}},
	{in: "crk", name: "reasoning_effort", kind: text, bad: []string{`"extreme"`},
		good: []string{`"none"`, `"xhigh"`}},
	{in: "crk", name: "reasoning", kind: object, good: []string{`{}`}},
	{in: "crk", name: "reasoning.effort", kind: text, bad: []string{`"extreme"`},
		good: []string{`"low"`}},
	{in: "crk", name: "enable_thinking", kind: boolean, good: []string{`false`}},
	{in: "crk", name: "thinking", kind: object},
	{in: "crk", name: "thinking.type", required: true, kind: text, bad: []string{`"maybe"`},
		good: []string{`"enabled"`}},
	{in: "crk", name: "thinking.budget_tokens", kind: integer, bad: []string{`-1`},
		good: []string{`0`}, beside: `"type":"enabled"`},
	{in: "crk", name: "thinking_budget", kind: integer, bad: []string{`-1`}, good: []string{`5`}},
	{in: "crk", name: "thinking_token_budget", kind: integer, bad: []string{`-1`},
		good: []string{`0`}},
	{in: "crk", name: "chat_template_kwargs", kind: object, good: []string{`{"think":true}`}},
	{in: "c", name: "chat_template_kwargs", kind: mixed, bad: []string{`{"messages":[]}`}},
	{in: "ck", name: "add_generation_prompt", kind: boolean, good: []string{`false`}},
	{in: "ck", name: "continue_final_message", kind: boolean, good: []string{`true`}},
	{in: "ck", name: "continue_final_message", kind: mixed, bad: []string{`true`},
		with: `"add_generation_prompt":true`},
	{in: "ctk", name: "echo", kind: boolean, good: []string{`true`}},
	{in: "c", name: "functions", kind: refused, good: []string{`[]`}},
	{in: "c", name: "function_call", kind: refused, good: []string{`"auto"`, `"none"`}},
	{in: "c", name: "audio", kind: refused},
	{in: "c", name: "modalities", kind: refused, good: []string{`["text"]`, `[]`}},
	{in: "c", name: "web_search_options", kind: refused},
	{in: "c", name: "documents", kind: refused, good: []string{`[]`}},
	{in: "c", name: "chat_template", kind: refused},
	// Texts.
	{in: "t", name: "prompt", required: true, kind: mixed, good: []string{`"a"`, `["a","b"]`, `[1,2]`, `[[1],[2]]`},
		bad: []string{`1`, `true`, `{}`, `""`, `[]`, `[[]]`, `["a",1]`, `[1,"a"]`, `[-1]`, `[269]`,
			`[null]`, `[[269]]`, repeat(`"a"`, 9)}},
	{in: "tp", name: "add_special_tokens", kind: boolean, good: []string{`false`}},
	{in: "k", name: "add_special_tokens", kind: mixed, bad: []string{`1`, `true`},
		good: []string{`false`}},
	{in: "t", name: "suffix", kind: refused, good: []string{`""`}},
	{in: "t", name: "best_of", kind: mixed, bad: []string{`"x"`, `2`, `0`, `[]`}, good: []string{`1`}},
	{in: "p", name: "messages", kind: mixed},
	{in: "p", name: "prompt", required: true, kind: text, good: []string{`""`}},
	{in: "pk", name: "return_token_strs", kind: boolean, good: []string{`true`}},
	{in: "d", name: "tokens", required: true, kind: array, bad: []string{`["a"]`, `[-1]`, `[269]`, `[null]`},
		good: []string{`[]`}},
	// Responses.
	{in: "r", name: "input", required: true, kind: mixed, good: []string{`"a"`},
		bad: []string{`1`, `true`, `{}`, `[]`, `[1]`, `[{"type":"computer_call"}]`,
			`[{"role":"wizard","content":"a"}]`, `[{"role":"user","content":1}]`,
			`[{"type":"function_call"}]`}},
	{in: "r", name: "instructions", kind: text, good: []string{`"i"`}},
	{in: "r", name: "previous_response_id", kind: text, good: []string{`""`}},
	{in: "r", name: "background", kind: refused, good: []string{`false`}},
	{in: "r", name: "conversation", kind: refused},
	{in: "r", name: "prompt", kind: refused},
	{in: "r", name: "context_management", kind: refused, good: []string{`[]`}},
	{in: "r", name: "moderation", kind: refused},
	{in: "r", name: "truncation", kind: refused, good: []string{`"disabled"`}},
	{in: "r", name: "include", kind: refused, good: []string{`["reasoning.encrypted_content"]`}},
	{in: "r", name: "text", kind: object, good: []string{`{}`}},
	{in: "r", name: "text.format", kind: object, good: []string{`{"type":"text"}`,
		`{"type":"json_object"}`, `{"type":"json_schema","name":"a","schema":{"type":"array"}}`},
		bad: []string{`{}`, `{"type":"xml"}`, `{"type":"json_schema"}`,
			`{"type":"json_schema","name":1,"schema":{}}`, `{"type":"json_schema","schema":{"not":1}}`}},
	{in: "r", name: "text.verbosity", kind: refused, good: []string{`"medium"`}},
}

// body returns a body for an endpoint in which the field has a value.
func (f *knownField) body(base, value string) string {
	name, inner, nested := strings.Cut(f.name, ".")
	if nested {
		if f.beside != "" {
			value += "," + f.beside
		}
		value = fmt.Sprintf(`{%q:%s}`, inner, value)
	}
	// Of two fields with the same name the later one counts.
	parts := slices.DeleteFunc([]string{base, f.with, fmt.Sprintf("%q:%s", name, value)},
		func(part string) bool { return part == "" })
	return "{" + strings.Join(parts, ",") + "}"
}

// Every field that an endpoint looks for is in the table; a value of the wrong
// type or out of range is refused by name, one that is right is accepted.
func TestEveryField(t *testing.T) {
	s, _ := newServer(t, "hi")
	s.cfg.MaxBody = 1 << 20
	asked := make(map[rune]map[string]bool)
	for letter := range endpoints {
		asked[letter] = make(map[string]bool)
	}
	listed := make(map[rune]map[string]bool)
	for letter := range endpoints {
		listed[letter] = make(map[string]bool)
	}
	for _, f := range knownFields {
		for _, letter := range f.in {
			s.asked = func(name string) { asked[letter][name] = true }
			listed[letter][f.name] = true
			checkField(t, s, &f, letter)
		}
	}
	for letter, endpoint := range endpoints {
		for _, name := range slices.Sorted(maps.Keys(asked[letter])) {
			if !listed[letter][name] {
				t.Errorf("%s looks for %q, which is not in knownFields for '%c'",
					endpoint.path, name, letter)
			}
		}
		for name := range listed[letter] {
			if !asked[letter][name] {
				t.Errorf("%s ('%c') never looks for %q", endpoint.path, letter, name)
			}
		}
	}
}

func checkField(t *testing.T, s *Server, f *knownField, letter rune) {
	t.Helper()
	endpoint := endpoints[letter]
	good := f.good
	if !f.required {
		good = append([]string{`null`}, good...) // as good as absent
	}
	for _, value := range good {
		body := f.body(endpoint.body, value)
		if w := do(s, http.MethodPost, endpoint.path, body); w.Code != http.StatusOK {
			t.Errorf("%s %s: %d %s", endpoint.path, body, w.Code, w.Body)
		}
	}
	for _, value := range append(f.bad, wrong[f.kind]...) {
		if slices.Contains(f.good, value) {
			continue
		}
		body := f.body(endpoint.body, value)
		w := do(s, http.MethodPost, endpoint.path, body)
		got := decodeError(t, w)
		rest, named := strings.CutPrefix(got.Param, f.name)
		named = named && (rest == "" || rest[0] == '[' || rest[0] == '.') &&
			strings.Contains(got.Message, f.name)
		if f.name == "model" && w.Code == http.StatusNotFound {
			continue
		}
		if w.Code != http.StatusBadRequest || !named {
			t.Errorf("%s %.200s (want %s): %d %+v", endpoint.path, body, f.kind, w.Code, got)
		}
	}
}
