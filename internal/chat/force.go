package chat

import "slices"

// Forced is text with which an answer must go on. After is the control token behind which it does,
// "" for the beginning of the answer. Spans encode like those of a rendered prompt.
type Forced struct {
	After string
	Spans []Span
}

// ForceCall returns what makes the answer to prompt a call of the function name, or of any function
// if name is "". Reasoning comes first where the model would reason; the arguments are the model's.
// It is nil if the dialect has no calls.
func (d *Dialect) ForceCall(prompt []int32, v Vocabulary, name string) []Forced {
	if !d.Tools() {
		return nil
	}
	form := d.form(kimiCalls(prompt, v))
	if d.name == harmony {
		return forceHarmony(form.open, d.named(form, name))
	}
	return d.force(prompt, v, form.open, d.named(form, name))
}

// named returns the name of a call and what stands between it and the arguments.
func (d *Dialect) named(form callForm, name string) []Span {
	if name == "" {
		return nil
	}
	return []Span{{Text: d.calledName(name), Input: true}, {Text: form.behind}}
}

// ForceContent returns what brings the answer to prompt to its content, which begins behind the
// last entry. Reasoning comes first where the model would reason.
func (d *Dialect) ForceContent(prompt []int32, v Vocabulary) []Forced {
	if d.name == harmony {
		return forceHarmony(harmonyStart+assistant+harmonyChannel+"final"+harmonyMessage, nil)
	}
	return d.force(prompt, v, "", nil)
}

// ForceAnswer returns what brings the answer to prompt to where content or a call begins: for
// harmony, to the header of a message.
func (d *Dialect) ForceAnswer(prompt []int32, v Vocabulary) []Forced {
	if d.name == harmony {
		return forceHarmony("", nil)
	}
	return d.force(prompt, v, "", nil)
}

// forceHarmony returns what leads through reasoning to text and spans.
func forceHarmony(text string, behind []Span) []Forced {
	return []Forced{
		{Spans: []Span{{Text: harmonyChannel + "analysis" + harmonyMessage}}},
		{After: harmonyEnd, Spans: append([]Span{{Text: text}}, behind...)},
	}
}

// force returns what leads through reasoning, if there is some, to text and spans.
func (d *Dialect) force(prompt []int32, v Vocabulary, text string, behind []Span) []Forced {
	var l lexer
	l.add(v, false, thinkOpen, thinkClose)
	open, shut := l.id(thinkOpen), l.id(thinkClose)
	last := lastTag(prompt, open, shut, turns(v))
	next := func(gap string) []Span { return append([]Span{{Text: d.gap(gap) + text}}, behind...) }
	switch {
	case shut < 0:
	case last == thinkOpen:
		return []Forced{{After: thinkClose, Spans: next("\n\n")}}
	case last == "" && d.opens && d.name == glm:
		return []Forced{
			{Spans: []Span{{Text: "\n" + thinkOpen}}},
			{After: thinkClose, Spans: next("")},
		}
	case last == "" && d.opens:
		return []Forced{
			{Spans: []Span{{Text: thinkOpen + "\n"}}},
			{After: thinkClose, Spans: next("\n\n")},
		}
	}
	return []Forced{{Spans: next("")}}
}

// gap returns what the dialect writes between reasoning and what follows.
func (d *Dialect) gap(usual string) string {
	switch d.name {
	case glm:
		return "\n"
	case deepseekV3, deepseek31, kimi:
		return ""
	}
	return usual
}

// kimiCalls counts the calls in a prompt: Kimi numbers them through a conversation.
func kimiCalls(prompt []int32, v Vocabulary) int {
	if v == nil {
		return 0
	}
	begin, ok := v.ID(kimiCallOpen)
	if !ok {
		return 0
	}
	n := 0
	for id := range slices.Values(prompt) {
		if id == begin {
			n++
		}
	}
	return n
}
