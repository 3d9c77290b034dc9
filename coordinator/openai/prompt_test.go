package openai

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/conclave-serve/conclave/internal/chat"
)

func TestOrdinaryChatEncodesAsAWhole(t *testing.T) {
	tok := newTokenizer(t)
	c := newControls(tok)
	template, err := chat.Parse(chatML, "test")
	if err != nil {
		t.Fatal(err)
	}
	messages, err := chat.ParseMessages([]byte(`[
		{"role":"system","content":"Be brief."},
		{"role":"user","content":"hello world, naïve cafe\u0301 < | > 123\r\n"},
		{"role":"assistant","content":"\n\nhello"},
		{"role":"user","content":"  hell"}]`))
	if err != nil {
		t.Fatal(err)
	}
	spans, err := template.Render(chat.Input{Messages: messages, AddGenerationPrompt: true})
	if err != nil {
		t.Fatal(err)
	}
	want := tok.Encode(joined(spans))
	if got := c.encode(spans); !slices.Equal(got, want) {
		t.Errorf("ids %v, want %v", got, want)
	}
	if !slices.Contains(want, idEnd) {
		t.Error("the template's control tokens are not recognised")
	}
}

func TestUserCannotWriteControlTokens(t *testing.T) {
	tok := newTokenizer(t)
	c := newControls(tok)
	literal := func(s string) chat.Span { return chat.Span{Text: s} }
	input := func(s string) chat.Span { return chat.Span{Text: s, Input: true} }
	cases := []struct {
		name  string
		spans []chat.Span
		want  []int32
	}{
		{"a whole token", []chat.Span{literal("<think>"), input("<|im_end|>"), literal("<|im_end|>")},
			slices.Concat([]int32{idThink}, tok.EncodePlain("<|im_end|>"), []int32{idEnd})},
		{"split with the template", []chat.Span{input("<|im_"), literal("end|>")},
			tok.EncodePlain("<|im_end|>")},
		{"split over two inputs", []chat.Span{input("<|im"), literal("_"), input("end|>")},
			tok.EncodePlain("<|im_end|>")},
		{"a beginning", []chat.Span{input("<|im_end"), literal("<|im_end|>")},
			append(tok.EncodePlain("<|im_end"), idEnd)},
		{"merges across borders", []chat.Span{literal("<think>he"), input("ll<think>"), input("o")},
			append([]int32{idThink}, tok.EncodePlain("hell<think>o")...)},
		{"nothing", nil, nil},
	}
	for _, k := range cases {
		if got := c.encode(k.spans); !slices.Equal(got, k.want) {
			t.Errorf("%s: ids %v, want %v", k.name, got, k.want)
		}
	}
}

// TestNormalisedTokens spells a control token so that only NFC makes it one.
func TestNormalisedTokens(t *testing.T) {
	tok := newTokenizer(t, "<\u00e9>")
	c := newControls(tok)
	const id = idThink + 2
	if got := tok.Encode("<e\u0301>"); !slices.Equal(got, []int32{id}) {
		t.Fatalf("ids %v: the tokenizer does not find the token", got)
	}
	if got := c.encode([]chat.Span{{Text: "<e\u0301>", Input: true}}); slices.Contains(got, id) {
		t.Errorf("a user wrote the token: %v", got)
	}
	if got := c.encode([]chat.Span{{Text: "<\u00e9>"}}); !slices.Equal(got, []int32{id}) {
		t.Errorf("the template could not write the token: %v", got)
	}
}

func TestEncodeKeepsTextAndControls(t *testing.T) {
	tok := newTokenizer(t)
	c := newControls(tok)
	rapid.Check(t, func(t *rapid.T) {
		fragment := rapid.SampledFrom([]string{
			"<|im_end|>", "<think>", "</think>", "<|im_", "end|>", "<", "|>", "hello", " world", "\n",
		})
		var spans []chat.Span
		for i := range rapid.IntRange(0, 8).Draw(t, "spans") {
			text := strings.Join(rapid.SliceOfN(fragment, 1, 3).Draw(t, "text"), "")
			spans = append(spans, chat.Span{Text: text, Input: i%2 == 1})
		}
		got := c.encode(spans)
		if text := tok.Decode(got, false); text != joined(spans) {
			t.Fatalf("%q became %q", joined(spans), text)
		}
		literal := 0
		for _, s := range spans {
			if !s.Input {
				literal += countControls(c, tok.Encode(s.Text))
			}
		}
		if n := countControls(c, got); n != literal {
			t.Fatalf("%d control tokens, the template wrote %d: %+v", n, literal, spans)
		}
	})
}

func countControls(c *controls, ids []int32) (n int) {
	for _, id := range ids {
		if _, ok := c.text[id]; ok {
			n++
		}
	}
	return n
}

func joined(spans []chat.Span) string {
	var b strings.Builder
	for _, s := range spans {
		b.WriteString(s.Text)
	}
	return b.String()
}

func TestThinking(t *testing.T) {
	tok := newTokenizer(t)
	c := newControls(tok)
	for text, want := range map[string]bool{
		"":                        false,
		"hello":                   false,
		"<|im_end|>\n<think>\n":   true,
		"<think>a":                true,
		"<think>\n\n</think>\n\n": false,
		"<think>a<|im_end|>\n<|im_start|>assistant": false,
	} {
		if got := c.thinking(tok.Encode(text), []int32{idEnd}); got != want {
			t.Errorf("%q: thinking %v", text, got)
		}
	}
	c.think, c.unthink = -1, -1
	if c.thinking(tok.Encode("<think>"), nil) {
		t.Error("a model without <think> thinks")
	}
}
