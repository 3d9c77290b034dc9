package regular

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// Set is a set of characters: the ranges s[0]-s[1], s[2]-s[3], …, sorted, disjoint and not
// adjacent. Surrogates are no characters.
type Set []rune

// Of returns the set of the ranges lo-hi that pairs holds, in any order.
func Of(pairs ...rune) Set {
	type span struct{ lo, hi rune }
	spans := make([]span, 0, len(pairs)/2+1)
	add := func(lo, hi rune) {
		if lo <= hi {
			spans = append(spans, span{lo, hi})
		}
	}
	const below, above = 0xd7ff, 0xe000 // the characters around the surrogates
	for i := 0; i+1 < len(pairs); i += 2 {
		lo, hi := max(pairs[i], 0), min(pairs[i+1], utf8.MaxRune)
		add(lo, min(hi, below))
		add(max(lo, above), hi)
	}
	slices.SortFunc(spans, func(a, b span) int { return int(a.lo - b.lo) })
	s := make(Set, 0, 2*len(spans))
	for _, x := range spans {
		if n := len(s); n > 0 && x.lo <= s[n-1]+1 {
			s[n-1] = max(s[n-1], x.hi)
			continue
		}
		s = append(s, x.lo, x.hi)
	}
	return s
}

// Any returns the set of all characters.
func Any() Set { return Of(0, utf8.MaxRune) }

// One returns the set of one character.
func One(c rune) Set { return Of(c, c) }

// unicodeTable returns the characters of a Unicode table.
func unicodeTable(t *unicode.RangeTable) Set {
	var pairs []rune
	put := func(lo, hi, stride rune) {
		if stride == 1 {
			pairs = append(pairs, lo, hi)
			return
		}
		for c := lo; c <= hi; c += stride {
			pairs = append(pairs, c, c)
		}
	}
	for _, r := range t.R16 {
		put(rune(r.Lo), rune(r.Hi), rune(r.Stride))
	}
	for _, r := range t.R32 {
		put(rune(r.Lo), rune(r.Hi), rune(r.Stride))
	}
	return Of(pairs...)
}

// Has reports whether c is in s.
func (s Set) Has(c rune) bool {
	lo, hi := 0, len(s)/2
	for lo < hi {
		mid := (lo + hi) / 2
		switch {
		case c < s[2*mid]:
			hi = mid
		case c > s[2*mid+1]:
			lo = mid + 1
		default:
			return true
		}
	}
	return false
}

// Size counts the characters of s.
func (s Set) Size() int {
	n := 0
	for i := 0; i < len(s); i += 2 {
		n += int(s[i+1]-s[i]) + 1
	}
	return n
}

// Empty reports whether s has no character.
func (s Set) Empty() bool { return len(s) == 0 }

// Or returns the characters of s or t.
func (s Set) Or(t Set) Set { return Of(append(slices.Clone(s), t...)...) }

// Not returns the characters that are not in s.
func (s Set) Not() Set {
	pairs := make([]rune, 0, len(s)+2)
	from := rune(0)
	for i := 0; i < len(s); i += 2 {
		pairs = append(pairs, from, s[i]-1)
		from = s[i+1] + 1
	}
	return Of(append(pairs, from, utf8.MaxRune)...)
}

// And returns the characters of both s and t.
func (s Set) And(t Set) Set {
	var out Set
	for i, j := 0, 0; i < len(s) && j < len(t); {
		if lo, hi := max(s[i], t[j]), min(s[i+1], t[j+1]); lo <= hi {
			out = append(out, lo, hi)
		}
		if s[i+1] < t[j+1] {
			i += 2
		} else {
			j += 2
		}
	}
	return out
}

// Minus returns the characters of s that are not in t.
func (s Set) Minus(t Set) Set { return s.And(t.Not()) }

// folding holds the characters that differ from others in case alone, with those others.
type folding struct {
	from []rune
	to   [][]rune
}

func newFolding() *folding {
	f := &folding{}
	const last = 0x1e943 // nothing beyond folds
	for c := rune(0); c <= last; c++ {
		var others []rune
		for d := unicode.SimpleFold(c); d != c; d = unicode.SimpleFold(d) {
			others = append(others, d, d)
		}
		if others != nil {
			f.from, f.to = append(f.from, c), append(f.to, others)
		}
	}
	return f
}

// fold returns s with every character that differs from one of s in case alone.
func (f *folding) fold(s Set) Set {
	pairs := slices.Clone(s)
	for i := 0; i < len(s); i += 2 {
		at, _ := slices.BinarySearch(f.from, s[i])
		for ; at < len(f.from) && f.from[at] <= s[i+1]; at++ {
			pairs = append(pairs, f.to[at]...)
		}
	}
	return Of(pairs...)
}
