package chat

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func FuzzParseMessages(f *testing.F) {
	f.Add([]byte(`[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"tool","content":null,"n":1e3}]`))
	f.Add([]byte(`[{"role":"assistant","tool_calls":[{"function":{"arguments":{"a":[1,2.0,{}]}}}]}]`))
	f.Add([]byte(`{`))
	data, tmpl := readConversations(f, "qwen3.json")
	for _, c := range data.Cases {
		f.Add([]byte(c.Messages))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		messages, err := ParseMessages(raw)
		if err != nil {
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("invalid JSON %q was accepted", raw)
		}
		spans, err := tmpl.Render(Input{Messages: messages, AddGenerationPrompt: true})
		if err == nil && !utf8.ValidString(join(spans)) {
			t.Fatalf("%q: rendered text is not UTF-8", raw)
		}
	})
}

// However the output is cut into pieces, the result is the same.
func FuzzSplitter(f *testing.F) {
	f.Add("<think>\na\n</think>\n\nb", false, uint8(3), uint8(9))
	f.Add("\n\n</thi</think>\n", true, uint8(1), uint8(5))
	f.Fuzz(func(t *testing.T, text string, open bool, i, j uint8) {
		run := func(pieces ...string) (reasoning, content string) {
			s := NewSplitter(open)
			for _, p := range pieces {
				r, c := s.Push(p)
				reasoning, content = reasoning+r, content+c
			}
			r, c := s.Flush()
			return reasoning + r, content + c
		}
		a := min(int(i), len(text))
		b := min(a+int(j), len(text))
		wantR, wantC := run(text)
		if r, c := run(text[:a], text[a:b], text[b:]); r != wantR || c != wantC {
			t.Fatalf("%q cut at %d and %d: %q, %q; want %q, %q", text, a, b, r, c, wantR, wantC)
		}
	})
}
