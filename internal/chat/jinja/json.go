package jinja

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonWriter is Python's json.dumps. Strings keep their marks; punctuation is literal.
type jsonWriter struct {
	it       *interp
	b        builder
	ascii    bool
	sortKeys bool
	pretty   bool
	indent   text
	comma    text
	colon    text
}

// toJSON is the filter tojson of transformers.
func toJSON(it *interp, in Value, a args) Value {
	p := a.bind(it, "ensure_ascii?", "indent?", "separators?", "sort_keys?")
	w := &jsonWriter{it: it, comma: literal(", "), colon: literal(": ")}
	w.ascii = p[0].given() && p[0].truth()
	w.sortKeys = p[3].given() && p[3].truth()
	if p[1].given() && !p[1].IsNone() {
		w.pretty, w.comma = true, literal(",")
		if p[1].kind == kindString {
			w.indent = p[1].text()
		} else {
			n := max(it.needInt(p[1], "indent"), 0)
			it.grow(n)
			w.indent = literal(strings.Repeat(" ", n))
		}
	}
	if p[2].given() && !p[2].IsNone() {
		s := it.iterate(p[2])
		if len(s) != 2 {
			it.fail("tojson: separators must be two strings")
		}
		w.comma, w.colon = it.needText(s[0], "separator"), it.needText(s[1], "separator")
	}
	w.value(in, 0)
	return str(w.b.done())
}

func (w *jsonWriter) value(v Value, depth int) {
	w.it.step(1)
	w.it.grow(8)
	if depth > maxValueDepth {
		w.it.exceeded("value is nested too deeply for tojson")
	}
	switch v.kind {
	case kindNone:
		w.b.literal("null")
	case kindBool:
		w.b.literal(map[bool]string{true: "true", false: "false"}[v.num != 0])
	case kindInt:
		w.b.literal(v.intText())
	case kindFloat:
		w.b.literal(jsonFloat(v.float()))
	case kindString:
		w.string(v.text())
	case kindDict:
		w.object(v.dict(), depth)
	case kindSeq:
		if !isListOrTuple(v) {
			w.it.fail("object of type %s is not JSON serializable", v.typeName())
		}
		items := v.seq().items
		w.container("[", "]", len(items), depth, func(i int) { w.value(items[i], depth+1) })
	default:
		w.it.fail("object of type %s is not JSON serializable", v.typeName())
	}
}

func (w *jsonWriter) container(opening, closing string, n, depth int, item func(i int)) {
	w.b.literal(opening)
	for i := range n {
		if i > 0 {
			w.b.text(w.comma)
		}
		w.newline(depth + 1)
		item(i)
	}
	if n > 0 {
		w.newline(depth)
	}
	w.b.literal(closing)
}

func (w *jsonWriter) newline(depth int) {
	if !w.pretty {
		return
	}
	w.it.grow(1 + depth*len(w.indent.s))
	w.b.literal("\n")
	for range depth {
		w.b.text(w.indent)
	}
}

func (w *jsonWriter) object(o *Object, depth int) {
	order := make([]int, o.Len())
	for i := range order {
		order[i] = i
	}
	if w.sortKeys {
		sort.SliceStable(order, func(i, j int) bool {
			return w.it.order(o.keys[order[i]], o.keys[order[j]], "<", 0) < 0
		})
	}
	w.container("{", "}", len(order), depth, func(i int) {
		key, value := o.At(order[i])
		w.key(key)
		w.b.text(w.colon)
		w.value(value, depth+1)
	})
}

func (w *jsonWriter) key(k Value) {
	switch k.kind {
	case kindString:
		w.string(k.text())
	case kindNone, kindBool, kindInt, kindFloat:
		w.b.literal(`"`)
		w.value(k, 0)
		w.b.literal(`"`)
	default:
		w.it.fail("keys must be str, int, float, bool or None, not %s", k.typeName())
	}
}

func jsonFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case math.IsNaN(f):
		return "NaN"
	}
	return floatRepr(f)
}

func (w *jsonWriter) string(t text) {
	w.it.grow(len(t.s) + 2)
	w.b.literal(`"`)
	t.runs(func(s string, input bool) {
		start := 0
		for i := 0; i < len(s); {
			r, size := utf8.DecodeRuneInString(s[i:])
			if e := jsonEscape(r, w.ascii); e != "" {
				w.b.write(s[start:i], input)
				w.b.write(e, input)
				start = i + size
			}
			i += size
		}
		w.b.write(s[start:], input)
	})
	w.b.literal(`"`)
}

// jsonEscape is the escape for r, or "" if it stands for itself.
func jsonEscape(r rune, ascii bool) string {
	switch {
	case r == '"':
		return `\"`
	case r == '\\':
		return `\\`
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r == '\f':
		return `\f`
	case r == '\b':
		return `\b`
	case r < 0x20 || ascii && r >= 0x7f && r < 0x10000:
		return fmt.Sprintf(`\u%04x`, r)
	case ascii && r >= 0x10000:
		hi, lo := utf16.EncodeRune(r)
		return fmt.Sprintf(`\u%04x\u%04x`, hi, lo)
	}
	return ""
}
