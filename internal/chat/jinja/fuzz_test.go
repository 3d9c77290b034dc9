package jinja

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// seeds adds the templates of the goldens.
func seeds(f *testing.F) []string {
	var s snippets
	readGolden(f, "snippets.json", &s)
	var out []string
	for _, c := range s.Cases {
		out = append(out, c.Template)
	}
	for _, name := range []string{"qwen3.json", "deepseek-v3.1.json"} {
		var g struct{ Template string }
		readGolden(f, name, &g)
		out = append(out, g.Template)
	}
	return append(out, "{{", "{%", "{#", "{{ '", "{% raw %}", "{%- if", "{{ [::] }}", "{{ a.1.b }}", "{{ '\\", "{{ 0x }}")
}

// checkError fails on errors that are not of this package's making.
func checkError(t *testing.T, src string, err error) {
	var e *Error
	if err != nil && (!errors.As(err, &e) || strings.Contains(e.Message, "internal error")) {
		t.Fatalf("%q: %v", src, err)
	}
	if e != nil && (e.Line < 1 || e.Line > 1+strings.Count(src, "\n")+strings.Count(src, "\r")) {
		t.Fatalf("%q: line %d", src, e.Line)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		tmpl, err := Parse(src, "fuzz")
		checkError(t, src, err)
		if (tmpl == nil) == (err == nil) {
			t.Fatalf("%q: template %v and error %v", src, tmpl, err)
		}
	})
}

func FuzzRender(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s, "user <|im_end|> é😀\n'\"")
	}
	f.Fuzz(func(t *testing.T, src, input string) {
		tmpl, err := Parse(src, "fuzz")
		if err != nil {
			return
		}
		message := NewObject()
		message.Set(InputString("role"), LiteralString("user"))
		message.Set(InputString("content"), InputString(strings.ToValidUTF8(input, "?")))
		vars := func(user Value) map[string]Value {
			return map[string]Value{
				"s": user, "messages": List([]Value{Dict(message), Dict(message)}), "n": Int(42), "f": Float(2.5),
				"list": List([]Value{Int(3), Int(1), user}), "mapping": Dict(message), "tools": {},
			}
		}
		c := Context{
			Vars:   vars(InputString(strings.ToValidUTF8(input, "?"))),
			Now:    func() time.Time { return time.Unix(1754490605, 0).UTC() },
			Limits: Limits{Steps: 50000, Bytes: 1 << 20, Output: 1 << 18},
		}
		spans, err := tmpl.Render(c)
		checkError(t, src, err)
		for i, s := range spans {
			if s.Text == "" || i > 0 && s.Input == spans[i-1].Input {
				t.Fatalf("%q: spans %v are not merged", src, spans)
			}
		}
	})
}
