package jinja

import (
	"math"
	"strconv"
	"strings"
	"unicode"
)

// str is Python's str(v), as printed by {{ v }}.
func (it *interp) str(v Value) text {
	switch v.kind {
	case kindString:
		return v.text()
	case kindUndefined:
		return text{}
	}
	var b builder
	it.repr(&b, v, 0)
	return b.done()
}

// repr writes Python's repr(v). The content of strings keeps its marks.
func (it *interp) repr(b *builder, v Value, depth int) {
	it.step(1)
	it.grow(8)
	if depth > maxValueDepth {
		it.exceeded("value is nested too deeply to print")
	}
	switch v.kind {
	case kindNone:
		b.literal("None")
	case kindUndefined:
		b.literal("Undefined")
	case kindBool:
		b.literal(map[bool]string{true: "True", false: "False"}[v.num != 0])
	case kindInt:
		b.literal(v.intText())
	case kindFloat:
		b.literal(floatRepr(v.float()))
	case kindString:
		it.reprText(b, v)
	case kindDict:
		b.literal("{")
		for i := range v.dict().Len() {
			if i > 0 {
				b.literal(", ")
			}
			key, value := v.dict().At(i)
			it.repr(b, key, depth+1)
			b.literal(": ")
			it.repr(b, value, depth+1)
		}
		b.literal("}")
	case kindSeq:
		it.reprSeq(b, v.seq(), depth)
	default:
		it.fail("unsupported: printing a %s", v.typeName())
	}
}

func (v Value) intText() string {
	if v.ref == nil {
		return strconv.FormatInt(int64(v.num), 10)
	}
	return v.big().String()
}

func (it *interp) reprSeq(b *builder, s *seq, depth int) {
	opening, closing := "[", "]"
	switch s.flavor {
	case flavorRange:
		b.literal(s.label)
		return
	case flavorIter:
		it.fail("unsupported: printing a generator; use the filter list")
	case flavorTuple:
		opening, closing = "(", ")"
		if len(s.items) == 1 {
			closing = ",)"
		}
	case flavorView:
		opening, closing = s.label+"([", "])"
	}
	b.literal(opening)
	for i, item := range s.items {
		if i > 0 {
			b.literal(", ")
		}
		it.repr(b, item, depth+1)
	}
	b.literal(closing)
}

func (it *interp) reprText(b *builder, v Value) {
	t := v.text()
	it.grow(len(t.s) + 2)
	quote := "'"
	if strings.Contains(t.s, "'") && !strings.Contains(t.s, `"`) {
		quote = `"`
	}
	if v.isMarkup() {
		b.literal("Markup(")
		defer b.literal(")")
	}
	b.literal(quote)
	t.runs(func(s string, input bool) {
		for _, r := range s {
			switch {
			case r == '\\' || string(r) == quote:
				b.write(`\`+string(r), input)
			case r == '\n':
				b.write(`\n`, input)
			case r == '\r':
				b.write(`\r`, input)
			case r == '\t':
				b.write(`\t`, input)
			case unicode.IsPrint(r):
				b.write(string(r), input)
			default:
				b.write(hexForm(r), input)
			}
		}
	})
	b.literal(quote)
}

// floatRepr is Python's repr of a float: the shortest digits that read back, with an exponent
// below 1e-4 and from 1e16 on.
func floatRepr(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	exp, _ := strconv.Atoi(s[strings.IndexByte(s, 'e')+1:])
	if exp < -4 || exp >= 16 {
		return s
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
