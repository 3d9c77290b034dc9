package chat

import "strings"

const (
	thinkOpen  = "<think>"
	thinkClose = "</think>"
)

type splitState uint8

const (
	splitStart        splitState = iota // only white space so far: a think block may open
	splitEarlyThought                   // just behind <think>: newlines are dropped
	splitReasoning                      // inside the think block
	splitAfter                          // behind the think block: newlines are dropped
	splitContent
)

// Splitter separates streamed output into reasoning, the text of a leading <think> block, and
// content. The tags are removed, and with them the newlines after <think> and on both sides of
// </think>, as Qwen3's parsers do. A block that is never closed is reasoning to the end. Text is
// held back only while it may turn out to be a tag or a newline to drop.
type Splitter struct {
	state splitState
	held  string // text whose meaning is not decided
}

// NewSplitter returns a Splitter for one answer; open says that the prompt ended inside a think
// block.
func NewSplitter(open bool) *Splitter {
	if open {
		return &Splitter{state: splitEarlyThought}
	}
	return &Splitter{}
}

// Push takes the next piece of output and returns what is decided: text to append to the reasoning
// and to the content.
func (s *Splitter) Push(text string) (reasoning, content string) {
	s.held += text
	for {
		before := s.state
		r, c := s.advance()
		reasoning += r
		content += c
		if s.state == before {
			return reasoning, content
		}
	}
}

// Flush ends the output and returns what was held back.
func (s *Splitter) Flush() (reasoning, content string) {
	held := s.held
	s.held = ""
	switch s.state {
	case splitReasoning, splitEarlyThought:
		return strings.TrimRight(held, "\n"), ""
	}
	return "", held
}

// advance emits what the current state allows and moves on to the next one if it is reached.
func (s *Splitter) advance() (reasoning, content string) {
	switch s.state {
	case splitStart:
		return "", s.start()
	case splitEarlyThought:
		if s.held = strings.TrimLeft(s.held, "\n"); s.held != "" {
			s.state = splitReasoning
		}
	case splitReasoning:
		return s.reasoning(), ""
	case splitAfter:
		if s.held = strings.TrimLeft(s.held, "\n"); s.held != "" {
			s.state = splitContent
		}
	case splitContent:
		content, s.held = s.held, ""
	}
	return "", content
}

// start looks for <think> behind white space; anything else is content, white space included.
func (s *Splitter) start() (content string) {
	rest := strings.TrimLeft(s.held, " \t\r\n")
	switch {
	case strings.HasPrefix(rest, thinkOpen):
		s.held = rest[len(thinkOpen):]
		s.state = splitEarlyThought
	case !strings.HasPrefix(thinkOpen, rest):
		s.state = splitContent
	}
	return ""
}

// reasoning emits up to </think>, holding back newlines and a part of the tag at the end.
func (s *Splitter) reasoning() string {
	if i := strings.Index(s.held, thinkClose); i >= 0 {
		text := strings.TrimRight(s.held[:i], "\n")
		s.held = s.held[i+len(thinkClose):]
		s.state = splitAfter
		return text
	}
	keep := len(s.held)
	for n := min(len(thinkClose)-1, len(s.held)); n > 0; n-- {
		if strings.HasSuffix(s.held, thinkClose[:n]) {
			keep -= n
			break
		}
	}
	keep = len(strings.TrimRight(s.held[:keep], "\n"))
	text := s.held[:keep]
	s.held = s.held[keep:]
	return text
}
