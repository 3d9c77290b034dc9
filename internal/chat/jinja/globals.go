package jinja

import (
	"fmt"
	"strings"
	"time"
)

// global returns a function that every template can call.
func (it *interp) global(name string) (Value, bool) {
	switch name {
	case "range":
		return builtin(name, globalRange), true
	case "namespace":
		return builtin(name, func(it *interp, a args) Value {
			ns := Value{kind: kindNamespace, ref: &namespace{attrs: NewObject()}}
			d := it.newDict(a)
			for i := range d.Len() {
				key, v := d.At(i)
				it.setAttr(ns, it.needText(key, "namespace attribute").s, v)
			}
			return ns
		}), true
	case "dict":
		return builtin(name, func(it *interp, a args) Value { return Dict(it.newDict(a)) }), true
	case "raise_exception":
		return builtin(name, func(it *interp, a args) Value {
			message := it.str(a.bind(it, "message")[0]).s
			panic(fault{&Error{Template: it.name, Line: it.line, Message: message, Raised: true}})
		}), true
	case "strftime_now":
		return builtin(name, func(it *interp, a args) Value {
			format := it.needText(a.bind(it, "format")[0], "format")
			if it.now == nil {
				it.fail("strftime_now: no clock")
			}
			it.grow(16 * len(format.s))
			return str(derived(it.strftime(format.s, it.now()), format))
		}), true
	case "lipsum", "cycler", "joiner":
		it.fail("unsupported global function '%s'", name)
	}
	return Value{}, false
}

// newDict is dict(mapping or pairs, **named).
func (it *interp) newDict(a args) *Object {
	d := NewObject()
	switch {
	case len(a.pos) > 1:
		it.fail("%s takes at most 1 positional argument, %d given", a.name, len(a.pos))
	case len(a.pos) == 1 && a.pos[0].kind == kindDict:
		it.grow(2 * a.pos[0].dict().Len() * valueBytes)
		d = a.pos[0].dict().clone()
	case len(a.pos) == 1:
		for _, pair := range it.iterate(a.pos[0]) {
			kv := it.iterate(pair)
			if len(kv) != 2 {
				it.fail("%s: sequence element must have length 2", a.name)
			}
			it.grow(2 * valueBytes)
			d.put(it.hash(kv[0]), kv[0], kv[1])
		}
	}
	for i, name := range a.names {
		d.Set(LiteralString(name), a.named[i])
	}
	return d
}

func globalRange(it *interp, a args) Value {
	if len(a.names) > 0 || len(a.pos) == 0 || len(a.pos) > 3 {
		it.fail("range takes 1 to 3 positional arguments")
	}
	from, to, step := 0, it.needInt(a.pos[0], "range bound"), 1
	if len(a.pos) > 1 {
		from, to = to, it.needInt(a.pos[1], "range bound")
	}
	if len(a.pos) > 2 {
		step = it.needInt(a.pos[2], "range step")
	}
	const far = 1 << 60
	if step == 0 || max(from, to, step) > far || min(from, to, step) < -far {
		it.fail("range: step must not be zero, nor any argument huge")
	}
	n := 0
	if step > 0 && to > from {
		n = (to-from-1)/step + 1
	} else if step < 0 && to < from {
		n = (from-to-1)/-step + 1
	}
	if n > maxRange {
		it.exceeded(fmt.Sprintf("range too big: %d items, at most %d are allowed", n, maxRange))
	}
	it.grow(n * valueBytes)
	items := make([]Value, n)
	for i := range items {
		items[i] = Int(int64(from + i*step))
	}
	label := fmt.Sprintf("range(%d, %d)", from, to)
	if step != 1 {
		label = fmt.Sprintf("range(%d, %d, %d)", from, to, step)
	}
	return Value{kind: kindSeq, ref: &seq{items: items, flavor: flavorRange, label: label}}
}

// strftime formats t as C's strftime does in the C locale.
func (it *interp) strftime(format string, t time.Time) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		i++
		trim := i < len(format) && format[i] == '-'
		if trim {
			i++
		}
		if i >= len(format) {
			it.fail("strftime_now: incomplete directive at the end of %q", format)
		}
		s, ok := directiveText(format[i], t)
		if !ok {
			it.fail("strftime_now: unsupported directive %%%c", format[i])
		}
		if trim {
			if s = strings.TrimLeft(s, "0 "); s == "" {
				s = "0"
			}
		}
		b.WriteString(s)
	}
	return b.String()
}

func directiveText(c byte, t time.Time) (string, bool) {
	pad := func(n int) (string, bool) { return fmt.Sprintf("%02d", n), true }
	layouts := map[byte]string{
		'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'd': "02", 'e': "_2",
		'H': "15", 'I': "03", 'j': "002", 'm': "01", 'M': "04", 'p': "PM", 'P': "pm", 'S': "05",
		'y': "06", 'Y': "2006", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05",
		'D': "01/02/06", 'F': "2006-01-02", 'R': "15:04", 'T': "15:04:05", 'r': "03:04:05 PM",
	}
	if layout, ok := layouts[c]; ok {
		return t.Format(layout), true
	}
	switch c {
	case '%':
		return "%", true
	case 'n':
		return "\n", true
	case 't':
		return "\t", true
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000), true
	case 'k':
		return fmt.Sprintf("%2d", t.Hour()), true
	case 'l':
		return fmt.Sprintf("%2d", (t.Hour()+11)%12+1), true
	case 's':
		return fmt.Sprint(t.Unix()), true
	case 'u':
		return fmt.Sprint((int(t.Weekday())+6)%7 + 1), true
	case 'w':
		return fmt.Sprint(int(t.Weekday())), true
	case 'C':
		return pad(t.Year() / 100)
	case 'G':
		year, _ := t.ISOWeek()
		return fmt.Sprint(year), true
	case 'g':
		year, _ := t.ISOWeek()
		return pad(year % 100)
	case 'V':
		_, week := t.ISOWeek()
		return pad(week)
	case 'U':
		return pad((t.YearDay() + 6 - int(t.Weekday())) / 7)
	case 'W':
		return pad((t.YearDay() + 6 - (int(t.Weekday())+6)%7) / 7)
	case 'z', 'Z': // datetime.now() is naive: no zone
		return "", true
	}
	return "", false
}
