package jinja

import (
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxWidth bounds widths and precisions of formatted values.
const maxWidth = 1000

// directive is one conversion of a format string.
type directive struct {
	left, plus, space, zero, alt bool
	width, precision             int // precision -1: not given
	verb                         byte
}

func filterFormat(it *interp, in Value, a args) Value {
	if len(a.pos) > 0 && len(a.names) > 0 {
		it.fail("format cannot take positional and keyword arguments at the same time")
	}
	operand := tuple(a.pos...)
	if len(a.names) > 0 {
		d := NewObject()
		for i, name := range a.names {
			d.Set(LiteralString(name), a.named[i])
		}
		operand = Dict(d)
	}
	return it.printf(soft(it, in), operand)
}

// printf is Python's format % operand. The format's text and every argument keep their marks.
func (it *interp) printf(format, operand Value) Value {
	t := format.text()
	values := []Value{operand}
	if operand.kind == kindSeq && operand.seq().flavor == flavorTuple {
		values = operand.seq().items
	}
	var b builder
	named := false
	for from := 0; from < len(t.s); {
		i := strings.IndexByte(t.s[from:], '%')
		if i < 0 {
			b.text(t.slice(from, len(t.s)))
			break
		}
		b.text(t.slice(from, from+i))
		from += i + 1
		d, key, n := it.directive(t.s[from:])
		from += n
		it.grow(i + n + 64)
		switch {
		case d.verb == '%':
			b.text(t.slice(from-1, from))
			continue
		case key != "":
			named = true
			if operand.kind != kindDict {
				it.fail("format requires a mapping")
			}
			v, ok := operand.dict().Get(key)
			if !ok {
				it.fail("format: key '%s' is missing", key)
			}
			b.text(it.convert(d, v))
			continue
		case len(values) == 0:
			it.fail("not enough arguments for format string")
		}
		b.text(it.convert(d, values[0]))
		values = values[1:]
	}
	if len(values) > 0 && !named && !formatMapping(operand) {
		it.fail("not all arguments converted during string formatting")
	}
	return str(b.done())
}

// formatMapping reports whether CPython takes the operand for a mapping, of which any part may stay
// unused: everything with [] but strings and tuples.
func formatMapping(v Value) bool {
	switch v.kind {
	case kindDict, kindUndefined:
		return true
	case kindSeq:
		return indexable(v) && v.seq().flavor != flavorTuple
	}
	return false
}

// directive parses what follows a % and returns its length.
func (it *interp) directive(s string) (d directive, key string, n int) {
	d.precision = -1
	if strings.HasPrefix(s, "(") {
		end := strings.IndexByte(s, ')')
		if end < 0 {
			it.fail("incomplete format key")
		}
		key, n = s[1:end], end+1
	}
	for ; n < len(s) && strings.IndexByte("-+ 0#", s[n]) >= 0; n++ {
		d.left = d.left || s[n] == '-'
		d.plus = d.plus || s[n] == '+'
		d.space = d.space || s[n] == ' '
		d.zero = d.zero || s[n] == '0'
		d.alt = d.alt || s[n] == '#'
	}
	d.width, n = it.width(s, n)
	if n < len(s) && s[n] == '.' {
		d.precision, n = it.width(s, n+1)
	}
	if n >= len(s) {
		it.fail("incomplete format")
	}
	d.verb = s[n]
	return d, key, n + 1
}

func (it *interp) width(s string, n int) (width, end int) {
	end = n
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	width, err := strconv.Atoi("0" + s[n:end])
	if err != nil || width > maxWidth {
		it.exceeded("format width is too large")
	}
	return width, end
}

func (it *interp) convert(d directive, v Value) text {
	switch d.verb {
	case 's', 'r', 'a':
		var t text
		if d.verb == 's' {
			t = it.str(v)
		} else {
			var b builder
			it.repr(&b, v, 0)
			t = b.done()
		}
		if d.precision >= 0 {
			t = t.slice(0, runeOffset(t.s, d.precision))
		}
		it.grow(len(t.s))
		d.zero = false
		return d.pad(t)
	case 'c':
		if s, ok := v.Text(); ok && utf8.RuneCountInString(s) == 1 {
			return d.pad(v.text())
		}
	case 'd', 'i', 'u', 'x', 'X', 'o':
		return d.pad(literal(d.integer(it, v)))
	case 'f', 'F', 'e', 'E', 'g', 'G':
		it.defined(v)
		if !v.isNumber() {
			it.fail("a number is required, not %s", v.typeName())
		}
		return d.pad(literal(d.float(it.toFloat(v))))
	}
	it.fail("unsupported format character '%c' for %s", d.verb, v.typeName())
	return text{}
}

func (d directive) integer(it *interp, v Value) string {
	it.defined(v)
	if !v.isNumber() || v.kind == kindFloat && strings.IndexByte("diu", d.verb) < 0 {
		it.fail("%%%c format: a number is required, not %s", d.verb, v.typeName())
	}
	var i *big.Int
	if v.kind == kindFloat {
		w := it.truncated(v.float(), Value{kind: kindMissing})
		if !w.given() {
			it.fail("cannot convert float infinity or NaN to integer")
		}
		i = w.big()
	} else {
		i = v.big()
	}
	base, prefix := 10, ""
	switch d.verb {
	case 'x', 'X':
		base, prefix = 16, "0x"
	case 'o':
		base, prefix = 8, "0o"
	}
	digits := new(big.Int).Abs(i).Text(base)
	for len(digits) < d.precision {
		digits = "0" + digits
	}
	if d.alt {
		digits = prefix + digits
	}
	if d.verb == 'X' {
		digits = strings.ToUpper(digits)
	}
	return d.sign(i.Sign() < 0) + digits
}

func (d directive) sign(negative bool) string {
	switch {
	case negative:
		return "-"
	case d.plus:
		return "+"
	case d.space:
		return " "
	}
	return ""
}

func (d directive) float(f float64) string {
	precision := d.precision
	if precision < 0 {
		precision = 6
	}
	verb := d.verb | 0x20
	var s string
	if verb == 'g' {
		s = generalFloat(f, max(precision, 1))
	} else {
		s = strconv.FormatFloat(f, verb, precision, 64)
	}
	s = strings.ToLower(strings.TrimPrefix(s, "+"))
	digits, negative := strings.CutPrefix(s, "-")
	if d.verb < 'a' {
		digits = strings.ToUpper(digits)
	}
	return d.sign(negative) + digits
}

// generalFloat is C's %g: the shorter form without trailing zeros.
func generalFloat(f float64, precision int) string {
	e := strconv.FormatFloat(f, 'e', precision-1, 64)
	at := strings.IndexByte(e, 'e')
	if at < 0 {
		return e // inf, nan
	}
	exp, _ := strconv.Atoi(e[at+1:])
	trim := func(s string) string {
		if strings.Contains(s, ".") {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		return s
	}
	if exp < -4 || exp >= precision {
		return trim(e[:at]) + e[at:]
	}
	return trim(strconv.FormatFloat(f, 'f', precision-1-exp, 64))
}

func (d directive) pad(t text) text {
	missing := d.width - utf8.RuneCountInString(t.s)
	switch {
	case missing <= 0:
		return t
	case d.left:
		return concat(t, literal(strings.Repeat(" ", missing)))
	case d.zero:
		at := 0
		if t.s != "" && strings.IndexByte("+- ", t.s[0]) >= 0 {
			at = 1
		}
		zeros := literal(strings.Repeat("0", missing))
		return concat(concat(t.slice(0, at), zeros), t.slice(at, len(t.s)))
	}
	return concat(literal(strings.Repeat(" ", missing)), t)
}

// format is str.format with fields that name an argument: {}, {0}, {name}. Format specifications,
// conversions and attribute paths are refused.
func (it *interp) format(t text, a args) Value {
	var b builder
	auto := 0
	for from := 0; from < len(t.s); {
		i := strings.IndexAny(t.s[from:], "{}")
		if i < 0 {
			b.text(t.slice(from, len(t.s)))
			break
		}
		b.text(t.slice(from, from+i))
		from += i
		it.grow(i + 8)
		if from+1 < len(t.s) && t.s[from+1] == t.s[from] {
			b.text(t.slice(from, from+1))
			from += 2
			continue
		}
		end := strings.IndexByte(t.s[from:], '}')
		if t.s[from] == '}' || end < 0 {
			it.fail("single '%c' encountered in format string", t.s[from])
		}
		field := t.s[from+1 : from+end]
		from += end + 1
		value := it.str(it.field(field, &auto, a))
		it.grow(len(value.s))
		b.text(value)
	}
	return str(b.done())
}

func (it *interp) field(field string, auto *int, a args) Value {
	if strings.ContainsAny(field, "{!:.[") {
		it.fail("unsupported format field {%s}", field)
	}
	i := *auto
	switch n, err := strconv.Atoi(field); {
	case field == "":
		*auto++
	case err == nil && n >= 0:
		i = n
	default:
		v, ok := a.take(field)
		if !ok {
			it.fail("format: argument '%s' is missing", field)
		}
		return v
	}
	if i >= len(a.pos) {
		it.fail("format: positional argument %d is missing", i)
	}
	return a.pos[i]
}
