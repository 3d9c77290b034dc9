package jinja

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// lookupTextFilter returns a filter that starts from str(in).
func lookupTextFilter(name string) filterFunc {
	method := func(name string, params ...string) filterFunc {
		return func(it *interp, in Value, a args) Value {
			a.bind(it, params...)
			return stringMethod(name)(it, soft(it, in), a)
		}
	}
	switch name {
	case "upper", "lower", "capitalize":
		return method(name)
	case "center":
		return func(it *interp, in Value, a args) Value {
			width := Int(int64(it.orInt(a.bind(it, "width?")[0], 80, "width")))
			return justify(it, soft(it, in), args{name: "center", pos: []Value{width}}, "center")
		}
	case "trim":
		return func(it *interp, in Value, a args) Value {
			p := a.bind(it, "chars?")
			return strip(it, soft(it, in), p[0], true, true)
		}
	case "replace":
		return filterReplace
	case "title":
		return filterTitle
	case "indent":
		return filterIndent
	case "truncate":
		return filterTruncate
	case "wordcount":
		return filterWordcount
	case "format":
		return filterFormat
	case "urlencode":
		return filterURLEncode
	case "string":
		return func(it *interp, in Value, a args) Value {
			a.bind(it)
			return soft(it, in)
		}
	case "safe":
		return func(it *interp, in Value, a args) Value {
			a.bind(it)
			return markup(it.str(in))
		}
	case "escape", "e", "forceescape":
		return func(it *interp, in Value, a args) Value {
			a.bind(it)
			if in.isMarkup() && name != "forceescape" {
				return in
			}
			return markup(it.escapeText(it.str(in)))
		}
	}
	return nil
}

// soft is str(in) that keeps the safe mark.
func soft(it *interp, in Value) Value {
	if in.kind == kindString {
		return in
	}
	return str(it.str(in))
}

// escaped is the text of v for joining with text marked safe.
func (it *interp) escaped(v Value) text {
	if v.isMarkup() {
		return v.text()
	}
	return it.escapeText(it.str(v))
}

func (it *interp) escapeText(t text) text {
	if !strings.ContainsAny(t.s, `&<>'"`) {
		return t
	}
	it.grow(6 * len(t.s))
	r := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;")
	var b builder
	t.runs(func(s string, input bool) { b.write(r.Replace(s), input) })
	return b.done()
}

func filterReplace(it *interp, in Value, a args) Value {
	p := a.bind(it, "old", "new", "count?")
	count := -1
	if p[2].given() && !p[2].IsNone() {
		count = it.needInt(p[2], "count")
	}
	return str(it.replace(it.str(in), it.str(p[0]), it.str(p[1]), count))
}

// filterTitle upper-cases the first letter after white space, - ( { [ and <.
func filterTitle(it *interp, in Value, a args) Value {
	a.bind(it)
	t := it.str(in)
	it.grow(2 * len(t.s))
	var b strings.Builder
	start := true
	for i, r := range t.s {
		if isSpace(r) || strings.ContainsRune("-({[<", r) {
			start = true
			b.WriteRune(r)
			continue
		}
		c := t.s[i : i+utf8.RuneLen(r)]
		if start {
			b.WriteString(upper(c))
		} else {
			b.WriteString(lower(c))
		}
		start = false
	}
	return str(derived(b.String(), t))
}

func filterIndent(it *interp, in Value, a args) Value {
	p := a.bind(it, "width?", "first?", "blank?")
	indention := literal("    ")
	if p[0].given() {
		if p[0].kind == kindString {
			indention = p[0].text()
		} else {
			n := max(it.needInt(p[0], "width"), 0)
			it.grow(n)
			indention = literal(strings.Repeat(" ", n))
		}
	}
	it.defined(in)
	lines := splitLines(concat(it.needText(in, "value of indent"), literal("\n")), false)
	it.grow(len(lines) * (len(indention.s) + valueBytes))
	var b builder
	if p[1].given() && p[1].truth() {
		b.text(indention)
	}
	blank := p[2].given() && p[2].truth()
	for i, line := range lines {
		if i > 0 {
			b.literal("\n")
			if blank || line.s != "" {
				b.text(indention)
			}
		}
		it.grow(len(line.s))
		b.text(line)
	}
	return Value{kind: kindString, num: in.num, ref: ptr(b.done())}
}

func filterTruncate(it *interp, in Value, a args) Value {
	p := a.bind(it, "length?", "killwords?", "end?", "leeway?")
	length, leeway := it.orInt(p[0], 255, "length"), it.orInt(p[3], 5, "leeway")
	end := literal("...")
	if p[2].given() {
		end = it.needText(p[2], "end")
	}
	keep := length - utf8.RuneCountInString(end.s)
	if keep < 0 || leeway < 0 {
		it.fail("truncate: length must not be below that of end, nor leeway below 0")
	}
	if it.length(in) <= length+leeway {
		return in // of whatever type, as in Jinja2
	}
	t := it.needText(in, "value of truncate")
	head := t.slice(0, runeOffset(t.s, keep))
	if !p[1].given() || !p[1].truth() {
		if i := strings.LastIndexByte(head.s, ' '); i >= 0 {
			head = head.slice(0, i)
		}
	}
	it.grow(len(head.s) + len(end.s))
	return str(concat(head, end))
}

func filterWordcount(it *interp, in Value, a args) Value {
	a.bind(it)
	t := it.str(in)
	it.step(len(t.s) >> 5)
	return Int(int64(len(strings.FieldsFunc(t.s, func(r rune) bool { return !isIdent(r) }))))
}

func filterURLEncode(it *interp, in Value, a args) Value {
	a.bind(it)
	if in.kind == kindDict || in.kind == kindSeq {
		it.fail("unsupported: urlencode of a %s", in.typeName())
	}
	t := it.str(in)
	it.grow(3 * len(t.s))
	const plain = "_.-~/"
	var b strings.Builder
	for i := range len(t.s) {
		c := t.s[i]
		if c < utf8.RuneSelf && (isAlnum(c) || strings.IndexByte(plain, c) >= 0) {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(strconv.FormatUint(0x100|uint64(c), 16)[1:]))
		}
	}
	return str(derived(b.String(), t))
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}
