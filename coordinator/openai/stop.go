package openai

import "strings"

// stopper finds stop strings in a stream of text. It releases text as soon as
// no stop string can begin in it, whatever follows.
//
// The stop string that is complete first wins; of several that end at the same
// place, the longest. The result does not depend on how the text is cut into
// pieces.
type stopper struct {
	stops   []string
	include bool   // the stop string itself is released, too
	held    string // might be the beginning of a stop string
	passed  int    // bytes of held in which no stop string may end
}

// push adds text. out may be shown; stopped says that a stop string follows
// it, or is its end, after which the stopper is used up.
func (s *stopper) push(text string) (out string, stopped bool) {
	if len(s.stops) == 0 {
		return text, false
	}
	text = s.held + text
	if start, end, found := s.find(text); found {
		s.held = ""
		if s.include {
			start = end
		}
		return text[:start], true
	}
	return s.hold(text), false
}

// pass adds text in which no stop string may end; one may begin in it.
func (s *stopper) pass(text string) (out string) {
	if len(s.stops) == 0 {
		return text
	}
	text = s.held + text
	s.passed = len(text)
	return s.hold(text)
}

// hold keeps the end of text that might begin a stop string and returns the
// rest.
func (s *stopper) hold(text string) (out string) {
	out = text[:len(text)-s.partial(text)]
	s.held = text[len(out):]
	s.passed = max(s.passed-len(out), 0)
	return out
}

// flush returns what was held back when no more text comes.
func (s *stopper) flush() string {
	out := s.held
	s.held, s.passed = "", 0
	return out
}

// find returns where the first stop string in text is.
func (s *stopper) find(text string) (start, end int, found bool) {
	for _, stop := range s.stops {
		from := max(s.passed-len(stop)+1, 0)
		if from > len(text) {
			continue
		}
		i := strings.Index(text[from:], stop)
		if i < 0 {
			continue
		}
		i += from
		if e := i + len(stop); !found || e < end || e == end && i < start {
			start, end, found = i, e, true
		}
	}
	return start, end, found
}

// partial returns the length of the longest end of text that begins a stop
// string.
func (s *stopper) partial(text string) int {
	longest := 0
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(text)); n > longest; n-- {
			if strings.HasSuffix(text, stop[:n]) {
				longest = n
				break
			}
		}
	}
	return longest
}
