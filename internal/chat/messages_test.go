package chat

import (
	"encoding/json"
	"strings"
	"testing"
)

// printed renders a value as Python prints it.
func printed(t *testing.T, v Value) string {
	t.Helper()
	tmpl, err := Parse("{{ v }}", "print")
	if err != nil {
		t.Fatal(err)
	}
	spans, err := tmpl.Render(Input{Kwargs: map[string]any{"v": v}})
	if err != nil {
		t.Fatal(err)
	}
	return join(spans)
}

// The expectations are what Python prints for json.loads of the same text.
func TestParseValue(t *testing.T) {
	for raw, want := range map[string]string{
		`{"b": 1, "a": 2.0, "b": 3}`:       "{'b': 3, 'a': 2.0}",
		`[1, 1.0, -0, -0.0, 1e3, 1E-7]`:    "[1, 1.0, 0, -0.0, 1000.0, 1e-07]",
		`[123456789012345678901234567890]`: "[123456789012345678901234567890]",
		`[1e400, -1e400]`:                  "[inf, -inf]",
		`"é\u00e9\ud83d\ude00"`:            "éé😀",
		` [true, false, null, "it's", {}]`: `[True, False, None, "it's", {}]`,
	} {
		v, err := ParseValue(json.RawMessage(raw))
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := printed(t, v); got != want {
			t.Errorf("%s: got %s, want %s", raw, got, want)
		}
	}
}

func TestParseValueErrors(t *testing.T) {
	for _, raw := range []string{
		"", "{", "[1,]", `{"a":}`, `{"a" 1}`, "[1] 2", "nul", `{"a":1,}`, "[1 2]", "'x'", "[", `"`,
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
		"[" + strings.Repeat("1", maxDigits+1) + "]",
	} {
		if v, err := ParseValue(json.RawMessage(raw)); err == nil {
			t.Errorf("%.40q parsed to %s", raw, printed(t, v))
		}
	}
	deep := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	if _, err := ParseValue(json.RawMessage(deep)); err != nil {
		t.Errorf("%d levels: %v", maxDepth, err)
	}
}

func TestParseMessages(t *testing.T) {
	got, err := ParseMessages(json.RawMessage(`[
		{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "z": 1.0, "a": 2},
		{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
		{"role": "tool"},
		{"role": "user", "content": []}]`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{'role': 'user', 'content': 'a\nb', 'z': 1.0, 'a': 2}`,
		`{'role': 'assistant', 'content': None, 'tool_calls': [{'function': {'name': 'f', 'arguments': '{}'}}]}`,
		`{'role': 'tool'}`,
		`{'role': 'user', 'content': ''}`,
	}
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	for i := range want {
		if s := printed(t, got[i]); s != want[i] {
			t.Errorf("message %d: got %s, want %s", i, s, want[i])
		}
	}
}

func TestParseMessagesErrors(t *testing.T) {
	for raw, want := range map[string]string{
		`{}`:            "messages must be a list",
		`nope`:          "messages: ",
		`["x"]`:         "messages[0] must be an object",
		`[{}]`:          "messages[0].role must be a string",
		`[{"role": 3}]`: "messages[0].role must be a string",
		`[{"role": "user"}, {"role": "user", "content": 3}]`:                                    "messages[1].content must be",
		`[{"role": "user", "content": ["x"]}]`:                                                  "messages[0].content[0] must be an object",
		`[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]`: `messages[0].content[1].type "image_url"`,
		`[{"role": "user", "content": [{"type": "text"}]}]`:                                     "messages[0].content[0].text must be a string",
		`[{"role": "user", "content": [{"text": "x"}]}]`:                                        `messages[0].content[0].type ""`,
	} {
		if _, err := ParseMessages(json.RawMessage(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", raw, err, want)
		}
	}
}
