package jinja

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// Hostile templates must end soon with an error that wraps ErrLimit.
func TestLimits(t *testing.T) {
	nested := func(n int, before, inner, after string) string {
		return strings.Repeat(before, n) + inner + strings.Repeat(after, n)
	}
	for name, src := range map[string]string{
		"nested loops": nested(9, "{% for i in range(1000) %}", "", "{% endfor %}"),
		"output":       "{% for i in range(100000) %}" + strings.Repeat("x", 1000) + "{% endfor %}",
		"string power": "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
		"list power":   "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
		"repeat":       "{{ 'ab' * 10000000000 }}",
		"repeat list":  "{{ [1, 2] * 10000000000 }}",
		"huge repeat":  "{{ 'ab' * 9223372036854775807 }}",
		"replace":      "{{ ('a' * 10000).replace('a', 'b' * 100000) }}",
		"center":       "{{ 'a'.center(10000000000) }}",
		"width":        "{{ '%9999999999d' % 1 }}",
		"indent":       "{{ 'a' | indent(99999999999, true) }}",
		"json indent":  "{{ [[1]] | tojson(indent=99999999999) }}",
		"int power":    "{{ 9 ** 100000 }}",
		"int growth":   "{% set ns = namespace(i=3) %}{% for i in range(100) %}{% set ns.i = ns.i * ns.i %}{% endfor %}",
		"range":        "{{ range(100001) }}",
		"macro":        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
		"recursion":    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
		"parentheses":  "{{ " + nested(100000, "(", "1", ")") + " }}",
		"brackets":     "{{ " + nested(100000, "[", "", "]") + " }}",
		"nots":         "{{ " + strings.Repeat("not ", 100000) + "1 }}",
		"minus":        "{{ " + strings.Repeat("-", 100000) + "1 }}",
		"sum":          "{{ 1" + strings.Repeat("+1", 100000) + " }}",
		"filters":      "{{ 1" + strings.Repeat("|abs", 100000) + " }}",
		"attributes":   "{{ a" + strings.Repeat(".b", 100000) + " }}",
		"conditions":   "{{ 1" + strings.Repeat(" if 1", 100000) + " }}",
		"ifs":          nested(100000, "{% if 1 %}", "", "{% endif %}"),
		"targets":      "{% set " + nested(100000, "(", "a", ",)") + " = 1 %}",
		"source":       strings.Repeat("x", maxSource+1),
		"deep print":   "{% set ns = namespace(l=[]) %}{% for i in range(5000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
		"deep json":    "{% set ns = namespace(l=[]) %}{% for i in range(5000) %}{% set ns.l = {'a': ns.l} %}{% endfor %}{{ ns.l | tojson }}",
		"deep compare": "{% set a = namespace(l=[]) %}{% set b = namespace(l=[]) %}{% for i in range(5000) %}" +
			"{% set a.l = [a.l] %}{% set b.l = [b.l] %}{% endfor %}{{ a.l == b.l }}",
		"wide print": "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
		"wide compare": "{% set a = namespace(l=[1]) %}{% set b = namespace(l=[1]) %}{% for i in range(60) %}" +
			"{% set a.l = [a.l, a.l] %}{% set b.l = [b.l, b.l] %}{% endfor %}{{ a.l == b.l }}",
	} {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			_, err := render(src, Context{Limits: Limits{Steps: 1e6, Bytes: 64 << 20, Output: 8 << 20}})
			if !errors.Is(err, ErrLimit) {
				t.Errorf("error %.200v, want ErrLimit", err)
			}
			t.Logf("%v after %v", err, time.Since(started))
		})
	}
}

func TestLimitsOfCaller(t *testing.T) {
	tmpl, err := Parse("{% for i in range(100) %}abcdefghij{% endfor %}", "t")
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]Limits{
		"steps": {Steps: 50}, "bytes": {Bytes: 3500}, "output": {Output: 999},
	} {
		if _, err := tmpl.Render(Context{Limits: l}); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: error %v, want ErrLimit", name, err)
		}
	}
	if _, err := tmpl.Render(Context{Limits: Limits{Steps: 1000, Bytes: 10000, Output: 1000}}); err != nil {
		t.Error(err)
	}
}

// Constructs outside the subset are refused when the template is parsed, even where they would not
// be reached.
func TestUnsupported(t *testing.T) {
	for src, want := range map[string]string{
		"{% include 'x' %}":                             "unsupported tag 'include'",
		"a\n{% block b %}{% endblock %}":                "line 2: unsupported tag 'block'",
		"{% extends 'x' %}":                             "unsupported tag 'extends'",
		"{% import 'x' as y %}":                         "unsupported tag 'import'",
		"{% from 'x' import y %}":                       "unsupported tag 'from'",
		"{% autoescape true %}{% endautoescape %}":      "unsupported tag 'autoescape'",
		"{% do x %}":                                    "unknown tag 'do'",
		"{% if false %}\n\n{{ x | urlize }}{% endif %}": "line 3: unsupported filter 'urlize'",
		"{{ 1 if x is nonsense else 2 }}":               "unsupported test 'nonsense'",
		"{{ x[1:2, 3] }}":                               "unsupported subscript",
		`{{ "\N{BULLET}" }}`:                            "unsupported escape",
		"{{ x }\n}":                                     "line 1",
		"\n\n{{ 'abc }}":                                "line 3: string literal is not closed",
		"{% for x in y %}\n{% if x %}\n{% endfor %}":    "line 3: unknown tag 'endfor'",
		"{% macro f(a=1, b) %}{% endmacro %}":           "without default",
		"{% for x in [1] %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}": "'break' outside a loop",
		"{% raw %} x": "missing end of raw block",
		"{# x":        "missing end of comment",
		"\xff":        "not valid UTF-8",
	} {
		_, err := Parse(src, "tmpl")
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) || e.Template != "tmpl" {
			t.Errorf("%q: error %v, want one with %q", src, err, want)
		}
	}
	for src, want := range map[string]string{
		"\n{{ 'x'.encode() }}":                      "line 2: unsupported attribute 'encode'",
		"{{ [1].copy() }}":                          "unsupported attribute 'copy'",
		"{{ lipsum() }}":                            "unsupported global function 'lipsum'",
		"{{ [1] | map('upper') }}":                  "unsupported: printing a generator",
		"{{ '{:>8}'.format(1) }}":                   "unsupported format field",
		"{{ strftime_now('%Q') }}":                  "strftime_now",
		"{{ 'x'.upper }}":                           "unsupported: printing a function",
		"{{ [1] | map('nope') }}":                   "unsupported filter 'nope'",
		"{{ [1] | select('nope') }}":                "unsupported test 'nope'",
		"{{ range(9)[1:] }}":                        "unsupported: slice of a range",
		"{{ (-8) ** 0.5 }}":                         "unsupported: complex",
		"{{ 'a' | urlencode }}{{ [] | urlencode }}": "unsupported: urlencode",
	} {
		if _, err := render(src, Context{Now: time.Now}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", src, err, want)
		}
	}
}

func TestRaised(t *testing.T) {
	_, err := render("\n{{ raise_exception('no ' ~ 1) }}", Context{})
	var e *Error
	if !errors.As(err, &e) || !e.Raised || e.Message != "no 1" || e.Line != 2 {
		t.Errorf("got %#v", err)
	}
}

// A template is shared by all requests.
func TestConcurrentRender(t *testing.T) {
	tmpl, err := Parse("{% set ns = namespace(n=0) %}{% for i in items %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "t")
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]Value{"items": List([]Value{Int(1), Int(2), Int(3)})}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				spans, err := tmpl.Render(Context{Vars: vars})
				if err != nil || len(spans) != 1 || spans[0].Text != "6" {
					t.Errorf("got %v, %v", spans, err)
				}
			}
		})
	}
	wg.Wait()
}
