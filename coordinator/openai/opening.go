package openai

import (
	"strings"
	"unicode"

	"github.com/conclave-serve/conclave/internal/chat"
)

// opening is how a chat's answer begins.
type opening struct {
	generate bool   // with what the template opens an answer with
	resume   bool   // in the middle of the last message
	last     string // that message's content, without white space before it
	echo     string // the part of it that the answer repeats
}

// readOpening reads add_generation_prompt, continue_final_message and echo, as
// vLLM has them.
func readOpening(f *fields, messages []chat.Value) opening {
	o := opening{resume: f.flag("continue_final_message")}
	o.generate = f.flagOr("add_generation_prompt", !o.resume)
	echo := f.flag("echo")
	if o.resume && o.generate {
		f.fail(invalid("continue_final_message", "'continue_final_message' and "+
			"'add_generation_prompt' exclude each other."))
	}
	if f.err != nil || len(messages) == 0 {
		return o
	}
	object, _ := messages[len(messages)-1].Object()
	content := textOf(object, "content")
	if echo && textOf(object, "role") == "assistant" {
		o.echo = content
	}
	o.last = strings.TrimLeftFunc(content, unicode.IsSpace)
	if o.resume && o.last == "" {
		f.fail(invalid("continue_final_message",
			"Invalid 'continue_final_message': the last message has no content."))
	}
	return o
}

// cutBehind drops what follows the last occurrence of a message's content, or
// of what a template that trims leaves of it. What the template itself says does
// not count.
func cutBehind(spans []chat.Span, content string) ([]chat.Span, bool) {
	var b strings.Builder
	for _, s := range spans {
		b.WriteString(s.Text)
	}
	text, trimmed := b.String(), strings.TrimRightFunc(content, unicode.IsSpace)
	for before := len(text); ; {
		start := strings.LastIndex(text[:before], trimmed)
		if start < 0 {
			return nil, false
		}
		end := start + len(trimmed)
		if strings.HasPrefix(text[start:], content) {
			end = start + len(content)
		}
		if cut, input := cutAt(spans, end); input {
			return cut, true
		}
		before = start + len(trimmed) - 1
	}
}

// cutAt drops what follows the first bytes of the spans' text, so many, and says
// whether the last of these is a user's.
func cutAt(spans []chat.Span, bytes int) (cut []chat.Span, input bool) {
	for i, s := range spans {
		if bytes <= len(s.Text) {
			s.Text = s.Text[:bytes]
			return append(spans[:i:i], s), s.Input
		}
		bytes -= len(s.Text)
	}
	return spans, false
}
