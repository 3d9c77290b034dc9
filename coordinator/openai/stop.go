package openai

import "strings"

// stopper finds stop strings in a stream of text. It releases text as soon as
// no stop string can begin in it, whatever follows.
//
// The stop string that is complete first wins; of several that end at the same
// place, the longest. The result does not depend on how the text is cut into
// pieces.
type stopper struct {
	stops []string
	held  string // might be the beginning of a stop string
}

// push adds text. out may be shown; stopped says that a stop string follows
// it, after which the stopper is used up.
func (s *stopper) push(text string) (out string, stopped bool) {
	if len(s.stops) == 0 {
		return text, false
	}
	text = s.held + text
	if start, found := s.find(text); found {
		s.held = ""
		return text[:start], true
	}
	keep := s.partial(text)
	s.held = text[len(text)-keep:]
	return text[:len(text)-keep], false
}

// flush returns what was held back when no more text comes.
func (s *stopper) flush() string {
	out := s.held
	s.held = ""
	return out
}

// find returns where the first stop string in text begins.
func (s *stopper) find(text string) (start int, found bool) {
	end := 0
	for _, stop := range s.stops {
		i := strings.Index(text, stop)
		if i < 0 {
			continue
		}
		if e := i + len(stop); !found || e < end || e == end && i < start {
			start, end, found = i, e, true
		}
	}
	return start, found
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
