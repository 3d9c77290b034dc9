package chat

import "testing"

func TestSplitter(t *testing.T) {
	for _, c := range []struct {
		name               string
		open               bool
		text               string
		reasoning, content string
	}{
		{"plain", false, "hello", "", "hello"},
		{"empty", false, "", "", ""},
		{"block", false, "<think>\nhm\nyes\n</think>\n\nhello\n", "hm\nyes", "hello\n"},
		{"block without newlines", false, "<think>a</think>b", "a", "b"},
		{"newlines inside stay", false, "<think>\n\na\n\nb\n\n</think>\n\n\nx\n\ny", "a\n\nb", "x\n\ny"},
		{"only newlines go", false, "<think> a \n</think>\n  x", " a ", "  x"},
		{"empty block", false, "<think>\n\n</think>\n\nhello", "", "hello"},
		{"space before", false, " \n<think>\na</think>b", "a", "b"},
		{"space before content", false, " \n x", "", " \n x"},
		{"not at the start", false, "x <think>a</think>", "", "x <think>a</think>"},
		{"almost a tag", false, "<thin", "", "<thin"},
		{"almost a tag, then text", false, "<thinner>", "", "<thinner>"},
		{"close without open", false, "a</think>b", "", "a</think>b"},
		{"second block is content", false, "<think>a</think><think>b</think>", "a", "<think>b</think>"},
		{"never closed", false, "<think>\na\nb\n", "a\nb", ""},
		{"never closed, part of the tag", false, "<think>a\n</thin", "a\n</thin", ""},
		{"false ends", false, "<think>a</</think</thin</think>b", "a</</think</thin", "b"},
		{"newlines before a false end", false, "<think>a\n\n</b\n</think>c", "a\n\n</b", "c"},
		{"open", true, "hm\n</think>\n\nhello", "hm", "hello"},
		{"open, newline first", true, "\nhm</think>hello", "hm", "hello"},
		{"open, nothing thought", true, "</think>hello", "", "hello"},
		{"open, never closed", true, "hm", "hm", ""},
		{"open, tag repeated", true, "<think>x</think>y", "<think>x", "y"},
		{"unicode", false, "<think>\né日😀\n</think>\n😀", "é日😀", "😀"},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := func(pieces ...string) {
				t.Helper()
				s := NewSplitter(c.open)
				var reasoning, content string
				add := func(r, c string) { reasoning, content = reasoning+r, content+c }
				for _, p := range pieces {
					add(s.Push(p))
				}
				add(s.Flush())
				if reasoning != c.reasoning || content != c.content {
					t.Errorf("pieces %q: reasoning %q, content %q; want %q, %q",
						pieces, reasoning, content, c.reasoning, c.content)
				}
			}
			check(c.text)
			for i := range len(c.text) + 1 {
				for j := i; j <= len(c.text); j++ {
					check(c.text[:i], c.text[i:j], c.text[j:])
				}
			}
			var bytes []string
			for i := range len(c.text) {
				bytes = append(bytes, c.text[i:i+1])
			}
			check(bytes...)
		})
	}
}

// Text that cannot be part of a tag must not wait.
func TestSplitterHoldsBackLittle(t *testing.T) {
	s := NewSplitter(false)
	for _, step := range []struct{ text, reasoning, content string }{
		{"<think>", "", ""}, {"\nab", "ab", ""}, {"c\n", "c", ""}, {"d </", "\nd ", ""},
		{"p>", "</p>", ""}, {"</think>", "", ""}, {"\n\n", "", ""}, {"x\n", "", "x\n"}, {"</th", "", "</th"},
	} {
		if r, c := s.Push(step.text); r != step.reasoning || c != step.content {
			t.Errorf("Push(%q) = %q, %q; want %q, %q", step.text, r, c, step.reasoning, step.content)
		}
	}
}
