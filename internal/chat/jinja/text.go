package jinja

import "sort"

// Span is a stretch of rendered text. Input says that it came from a value supplied by a user, so
// that control tokens in it are ordinary text.
type Span struct {
	Text  string
	Input bool
}

// text is a string with marks: cuts are the byte offsets where the mark flips, the first run being
// literal. Offsets ascend strictly and lie below len(s), so literal text has no cuts and a wholly
// marked text has the single cut 0.
type text struct {
	s    string
	cuts []int
}

func literal(s string) text { return text{s: s} }

func marked(s string, input bool) text {
	if !input || s == "" {
		return text{s: s}
	}
	return text{s: s, cuts: []int{0}}
}

// hasInput reports whether any byte is marked.
func (t text) hasInput() bool { return len(t.cuts) > 0 }

// slice returns bytes [from, to) with their marks.
func (t text) slice(from, to int) text {
	if from >= to {
		return text{}
	}
	if len(t.cuts) == 0 || len(t.cuts) == 1 && t.cuts[0] == 0 {
		return text{s: t.s[from:to], cuts: t.cuts}
	}
	first := sort.SearchInts(t.cuts, from+1) // cuts[:first] are at or before from
	last := sort.SearchInts(t.cuts, to)
	var cuts []int
	if first%2 == 1 {
		cuts = append(cuts, 0)
	}
	for _, c := range t.cuts[first:last] {
		cuts = append(cuts, c-from)
	}
	return text{s: t.s[from:to], cuts: cuts}
}

// runs calls f for every maximal stretch of equal mark, in order.
func (t text) runs(f func(s string, input bool)) {
	start, input := 0, false
	for _, c := range t.cuts {
		if c > start {
			f(t.s[start:c], input)
		}
		start, input = c, !input
	}
	if start < len(t.s) {
		f(t.s[start:], input)
	}
}

// derived is the result s of a transformation of sources that does not keep positions.
func derived(s string, sources ...text) text {
	for _, t := range sources {
		if t.hasInput() {
			return marked(s, true)
		}
	}
	return literal(s)
}

// spans returns the merged runs.
func (t text) spans() []Span {
	var out []Span
	t.runs(func(s string, input bool) { out = append(out, Span{Text: s, Input: input}) })
	return out
}

// builder assembles a text.
type builder struct {
	buf   []byte
	cuts  []int
	input bool
}

func (b *builder) write(s string, input bool) {
	if s == "" {
		return
	}
	if input != b.input {
		b.cuts = append(b.cuts, len(b.buf))
		b.input = input
	}
	b.buf = append(b.buf, s...)
}

func (b *builder) literal(s string) { b.write(s, false) }

func (b *builder) text(t text) {
	if len(t.cuts) == 0 {
		b.write(t.s, false)
		return
	}
	t.runs(b.write)
}

func (b *builder) done() text { return text{s: string(b.buf), cuts: b.cuts} }

func concat(a, c text) text {
	if a.s == "" {
		return c
	}
	if c.s == "" {
		return a
	}
	b := builder{buf: make([]byte, 0, len(a.s)+len(c.s))}
	b.text(a)
	b.text(c)
	return b.done()
}
