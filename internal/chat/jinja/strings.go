package jinja

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// method is a bound string method; self is a string.
type method func(it *interp, self Value, a args) Value

// stringMethod returns the method of Python's str of that name, or nil.
func stringMethod(name string) method {
	switch name {
	case "strip", "lstrip", "rstrip":
		return func(it *interp, self Value, a args) Value {
			return strip(it, self, a.bind(it, "chars?")[0], name != "rstrip", name != "lstrip")
		}
	case "split", "rsplit":
		return func(it *interp, self Value, a args) Value { return split(it, self, a, name == "rsplit") }
	case "splitlines":
		return func(it *interp, self Value, a args) Value {
			p := a.bind(it, "keepends?")
			return textList(it, splitLines(self.text(), p[0].given() && p[0].truth()))
		}
	case "startswith", "endswith":
		return func(it *interp, self Value, a args) Value {
			return affix(it, self, a, name == "endswith")
		}
	case "find", "rfind", "index", "rindex", "count":
		return func(it *interp, self Value, a args) Value { return find(it, self, a, name) }
	case "replace":
		return methodReplace
	case "join":
		return methodJoin
	case "upper", "lower", "title", "capitalize", "casefold", "swapcase":
		return func(it *interp, self Value, a args) Value {
			a.bind(it)
			t := self.text()
			it.grow(3 * len(t.s))
			return str(derived(caseMethod(name, t.s), t))
		}
	case "removeprefix", "removesuffix":
		return func(it *interp, self Value, a args) Value {
			t, fix := self.text(), it.needText(a.bind(it, "affix")[0], "argument")
			switch {
			case name == "removeprefix" && strings.HasPrefix(t.s, fix.s):
				t = t.slice(len(fix.s), len(t.s))
			case name == "removesuffix" && strings.HasSuffix(t.s, fix.s):
				t = t.slice(0, len(t.s)-len(fix.s))
			}
			return str(t)
		}
	case "partition", "rpartition":
		return func(it *interp, self Value, a args) Value {
			return partition(it, self, a, name == "rpartition")
		}
	case "ljust", "rjust", "center", "zfill":
		return func(it *interp, self Value, a args) Value { return justify(it, self, a, name) }
	case "format":
		return func(it *interp, self Value, a args) Value { return it.format(self.text(), a) }
	}
	if is := charTest(name); is != nil {
		return func(it *interp, self Value, a args) Value {
			a.bind(it)
			return Bool(is(self.text().s))
		}
	}
	return nil
}

func strip(it *interp, self, chars Value, left, right bool) Value {
	t := self.text()
	cut := isSpace
	if chars.given() && !chars.IsNone() {
		set := it.needText(chars, "strip argument").s
		cut = func(r rune) bool {
			it.step(1 + len(set)>>5)
			return strings.ContainsRune(set, r)
		}
	}
	from, to := 0, len(t.s)
	if left {
		from = to - len(strings.TrimLeftFunc(t.s, cut))
	}
	if right {
		to = from + len(strings.TrimRightFunc(t.s[from:], cut))
	}
	return Value{kind: kindString, num: self.num, ref: ptr(t.slice(from, to))}
}

func textList(it *interp, parts []text) Value {
	it.grow(2 * len(parts) * valueBytes)
	items := make([]Value, len(parts))
	for i, p := range parts {
		items[i] = str(p)
	}
	return List(items)
}

func split(it *interp, self Value, a args, fromRight bool) Value {
	p := a.bind(it, "sep?", "maxsplit?")
	t, limit := self.text(), it.orInt(p[1], -1, "maxsplit")
	it.step(len(t.s) >> 5)
	if limit < 0 {
		limit = len(t.s) + 1
	}
	if !p[0].given() || p[0].IsNone() {
		return textList(it, splitSpace(t, limit, fromRight))
	}
	sep := it.needText(p[0], "separator").s
	if sep == "" {
		it.fail("empty separator")
	}
	if fromRight {
		return textList(it, splitRight(t, sep, limit))
	}
	var parts []text
	from := 0
	for ; limit > 0; limit-- {
		i := strings.Index(t.s[from:], sep)
		if i < 0 {
			break
		}
		parts = append(parts, t.slice(from, from+i))
		from += i + len(sep)
	}
	return textList(it, append(parts, t.slice(from, len(t.s))))
}

func splitRight(t text, sep string, limit int) []text {
	var parts []text
	to := len(t.s)
	for ; limit > 0; limit-- {
		i := strings.LastIndex(t.s[:to], sep)
		if i < 0 {
			break
		}
		parts = append(parts, t.slice(i+len(sep), to))
		to = i
	}
	parts = append(parts, t.slice(0, to))
	slices.Reverse(parts)
	return parts
}

// splitSpace splits at runs of white space, of which none is left at the ends.
func splitSpace(t text, limit int, fromRight bool) []text {
	var parts []text
	from, to := 0, len(t.s)
	for from < to {
		if fromRight {
			to = from + len(strings.TrimRightFunc(t.s[from:to], isSpace))
		} else {
			from = to - len(strings.TrimLeftFunc(t.s[from:to], isSpace))
		}
		if from >= to {
			break
		}
		s := t.s[from:to]
		if limit == 0 {
			parts = append(parts, t.slice(from, to)) // space at its far end stays
			break
		}
		limit--
		if fromRight {
			i := strings.LastIndexFunc(s, isSpace)
			if i >= 0 {
				_, n := utf8.DecodeRuneInString(s[i:])
				i += n
			}
			i = max(i, 0)
			parts = append(parts, t.slice(from+i, to))
			to = from + i
			continue
		}
		i := strings.IndexFunc(s, isSpace)
		if i < 0 {
			i = len(s)
		}
		parts = append(parts, t.slice(from, from+i))
		from += i
	}
	if fromRight {
		slices.Reverse(parts)
	}
	return parts
}

func isLineEnd(r rune) bool {
	return r >= '\n' && r <= '\r' || r >= 0x1c && r <= 0x1e || r == 0x85 || r == 0x2028 || r == 0x2029
}

// splitLines is str.splitlines.
func splitLines(t text, keepEnds bool) []text {
	var lines []text
	for from := 0; from < len(t.s); {
		i := strings.IndexFunc(t.s[from:], isLineEnd)
		if i < 0 {
			return append(lines, t.slice(from, len(t.s)))
		}
		end := from + i
		r, n := utf8.DecodeRuneInString(t.s[end:])
		if r == '\r' && strings.HasPrefix(t.s[end+1:], "\n") {
			n = 2
		}
		if keepEnds {
			lines = append(lines, t.slice(from, end+n))
		} else {
			lines = append(lines, t.slice(from, end))
		}
		from = end + n
	}
	return lines
}

// window applies the optional character bounds start and end of str.find and its kin; ok is false
// if start lies behind the end of the string.
func window(it *interp, s string, start, end Value) (offset int, part string, ok bool) {
	n := utf8.RuneCountInString(s)
	from, to := 0, n
	if start.given() && !start.IsNone() {
		if from = it.needInt(start, "start"); from < 0 {
			from = max(from+n, 0)
		}
	}
	if end.given() && !end.IsNone() {
		if to = it.needInt(end, "end"); to < 0 {
			to = max(to+n, 0)
		}
	}
	if to = min(to, n); from > to {
		return 0, "", false
	}
	a := runeOffset(s, from)
	return from, s[a : a+runeOffset(s[a:], to-from)], true
}

func affix(it *interp, self Value, a args, end bool) Value {
	p := a.bind(it, "prefix", "start?", "end?")
	options := []Value{p[0]}
	if p[0].kind == kindSeq && p[0].seq().flavor == flavorTuple {
		options = p[0].seq().items
	}
	_, s, ok := window(it, self.text().s, p[1], p[2])
	for _, o := range options {
		it.step(1)
		fix := it.needText(o, "argument of startswith or endswith").s
		if ok && (end && strings.HasSuffix(s, fix) || !end && strings.HasPrefix(s, fix)) {
			return Bool(true)
		}
	}
	return Bool(false)
}

func find(it *interp, self Value, a args, name string) Value {
	p := a.bind(it, "sub", "start?", "end?")
	sub := it.needText(p[0], "substring").s
	it.step(len(self.text().s) >> 5)
	offset, s, ok := window(it, self.text().s, p[1], p[2])
	if name == "count" {
		if !ok {
			return Int(0)
		}
		return Int(int64(strings.Count(s, sub)))
	}
	i := -1
	switch {
	case ok && (name == "find" || name == "index"):
		i = strings.Index(s, sub)
	case ok:
		i = strings.LastIndex(s, sub)
	}
	if i < 0 {
		if strings.HasSuffix(name, "index") {
			it.fail("substring not found")
		}
		return Int(-1)
	}
	return Int(int64(offset + utf8.RuneCountInString(s[:i])))
}

func methodReplace(it *interp, self Value, a args) Value {
	p := a.bind(it, "old", "new", "count?")
	old, with := it.needText(p[0], "old"), it.needText(p[1], "new")
	if self.isMarkup() {
		old, with = it.escaped(p[0]), it.escaped(p[1])
	}
	t := it.replace(self.text(), old, with, it.orInt(p[2], -1, "count"))
	return Value{kind: kindString, num: self.num, ref: &t}
}

// replace replaces the first count occurrences, all if count is negative.
func (it *interp) replace(t, old, with text, count int) text {
	n := strings.Count(t.s, old.s)
	if count < 0 || count > n {
		count = n
	}
	if len(with.s) > 0 && count > it.limits.Bytes/len(with.s) {
		it.exceeded("too much text or data produced")
	}
	it.grow(len(t.s) + count*len(with.s))
	var b builder
	from := 0
	for i := 0; i < count; i++ {
		at := strings.Index(t.s[from:], old.s)
		if old.s == "" { // before every character, and at the end
			at = 0
			if i > 0 {
				_, at = utf8.DecodeRuneInString(t.s[from:])
			}
		}
		b.text(t.slice(from, from+at))
		b.text(with)
		from += at + len(old.s)
	}
	b.text(t.slice(from, len(t.s)))
	return b.done()
}

func methodJoin(it *interp, self Value, a args) Value {
	sep := self.text()
	var b builder
	for i, v := range it.iterate(a.bind(it, "iterable")[0]) {
		if v.kind != kindString {
			it.fail("sequence item %d: expected str instance, %s found", i, v.typeName())
		}
		t := v.text()
		if self.isMarkup() {
			t = it.escaped(v)
		}
		it.grow(len(t.s) + len(sep.s))
		if i > 0 {
			b.text(sep)
		}
		b.text(t)
	}
	return Value{kind: kindString, num: self.num, ref: ptr(b.done())}
}

func partition(it *interp, self Value, a args, fromRight bool) Value {
	t, sep := self.text(), it.needText(a.bind(it, "sep")[0], "separator")
	if sep.s == "" {
		it.fail("empty separator")
	}
	it.step(len(t.s) >> 5)
	i := strings.Index(t.s, sep.s)
	if fromRight {
		i = strings.LastIndex(t.s, sep.s)
	}
	switch {
	case i >= 0:
		return tuple(str(t.slice(0, i)), str(sep), str(t.slice(i+len(sep.s), len(t.s))))
	case fromRight:
		return tuple(LiteralString(""), LiteralString(""), self)
	}
	return tuple(self, LiteralString(""), LiteralString(""))
}

func justify(it *interp, self Value, a args, name string) Value {
	fill := literal(" ")
	t := self.text()
	var width int
	if name == "zfill" {
		width, fill = it.needInt(a.bind(it, "width")[0], "width"), literal("0")
	} else {
		p := a.bind(it, "width", "fillchar?")
		width = it.needInt(p[0], "width")
		if p[1].given() {
			fill = it.needText(p[1], "fill character")
		}
	}
	if utf8.RuneCountInString(fill.s) != 1 {
		it.fail("the fill character must be exactly one character long")
	}
	missing := max(width-it.length(self), 0)
	it.grow(min(missing, it.limits.Bytes+1) * len(fill.s))
	left := missing
	var b builder
	switch {
	case name == "ljust":
		left = 0
	case name == "center":
		left = missing/2 + missing&width&1 // as CPython rounds
	case name == "zfill" && t.s != "" && (t.s[0] == '+' || t.s[0] == '-'):
		b.text(t.slice(0, 1))
		t = t.slice(1, len(t.s))
	}
	for range left {
		b.text(fill)
	}
	b.text(t)
	for range missing - left {
		b.text(fill)
	}
	return str(b.done())
}
