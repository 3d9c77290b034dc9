package hub

import (
	"cmp"
	"slices"
)

// spans is a set of bytes: ascending, disjoint, with a gap between neighbours.
type spans []span

// add puts s into the set.
func (l spans) add(s span) spans {
	if s.begin >= s.end {
		return l
	}
	// All that s touches becomes one.
	from, _ := slices.BinarySearchFunc(l, s.begin, func(have span, at int64) int {
		return cmp.Compare(have.end, at)
	})
	to := from
	for to < len(l) && l[to].begin <= s.end {
		s = span{min(s.begin, l[to].begin), max(s.end, l[to].end)}
		to++
	}
	return slices.Replace(l, from, to, s)
}

// has tells whether all of s is in the set.
func (l spans) has(s span) bool {
	i, _ := slices.BinarySearchFunc(l, s.end, func(have span, at int64) int {
		return cmp.Compare(have.end, at)
	})
	return s.begin >= s.end || i < len(l) && l[i].begin <= s.begin
}

// without returns what of s is not in the set, in ascending order.
func (l spans) without(s span) spans {
	var out spans
	at := s.begin
	i, _ := slices.BinarySearchFunc(l, s.begin, func(have span, at int64) int {
		return cmp.Compare(have.end, at)
	})
	for ; i < len(l) && l[i].begin < s.end; i++ {
		if l[i].begin > at {
			out = append(out, span{at, l[i].begin})
		}
		at = max(at, l[i].end)
	}
	if at < s.end {
		out = append(out, span{at, s.end})
	}
	return out
}

func (l spans) bytes() (n int64) {
	for _, s := range l {
		n += s.bytes()
	}
	return n
}

const (
	// mergeGap is the gap between two spans that is read rather than left out: it takes less time
	// than another request. Much more would read what nobody asked for.
	mergeGap = 16 << 10
	// maxSpan is what one request asks for. Less would spend more of the time on round trips, more
	// would leave connections idle at the end.
	maxSpan = 16 << 20
)

// requests turns missing spans into what to ask for: neighbours together, long ones in pieces.
func (l spans) requests() []span {
	var out []span
	for i := 0; i < len(l); {
		s := l[i]
		for i++; i < len(l) && l[i].begin-s.end <= mergeGap; i++ {
			s.end = l[i].end
		}
		for s.bytes() > maxSpan {
			out = append(out, span{s.begin, s.begin + maxSpan})
			s.begin += maxSpan
		}
		out = append(out, s)
	}
	return out
}
