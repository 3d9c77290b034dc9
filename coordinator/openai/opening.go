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
// of what a template that trims leaves of it.
func cutBehind(spans []chat.Span, content string) ([]chat.Span, bool) {
	var b strings.Builder
	for _, s := range spans {
		b.WriteString(s.Text)
	}
	text, trimmed := b.String(), strings.TrimRightFunc(content, unicode.IsSpace)
	end := strings.LastIndex(text, trimmed)
	if end < 0 {
		return nil, false
	}
	if strings.HasPrefix(text[end:], content) {
		end += len(content)
	} else {
		end += len(trimmed)
	}
	for i, s := range spans {
		if end <= len(s.Text) {
			s.Text = s.Text[:end]
			return append(spans[:i:i], s), true
		}
		end -= len(s.Text)
	}
	return spans, true
}
