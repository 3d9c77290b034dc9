package jinja

import "testing"

// Corners that comparing random templates with Jinja2 3.1.6 brought up; the outputs are Jinja2's.
func TestCorners(t *testing.T) {
	for src, want := range map[string]string{
		"{{ 'Hello, World'[:none:-2] }}":                                  "drW,le",
		"{{ [1, 2, 3][none:none:-1] }}":                                   "[3, 2, 1]",
		"{{ '' % nope }}|{{ '%s' % nope }}|{{ '' % [1] }}|{{ 'a' % {} }}": "|||a",
		"{{ [1, 2] | truncate(5, true) }}":                                "[1, 2]",
		"{{ ' a b  c '.rsplit(none, 1) }}":                                "[' a b', 'c']",
		"{% for x in [1] %}{% break %}{% else %}e{% endfor %}":            "e",
		"{% for x in [1] %}{% continue %}{% else %}e{% endfor %}":         "e",
		"{{ '\\é' }}{{ '\\q' }}":                                          "\\xe9\\q",
		"{{ -7 // 2 }} {{ -7 % 3 }} {{ 7.5 // -2 }} {{ -0.0 // 1 }}":      "-4 2 -4.0 -0.0",
		"{{ {1: 'a', true: 'b', 1.0: 'c'} }}":                             "{1: 'c'}",
		"{{ 9223372036854775807 + 1 }} {{ -9223372036854775808 - 1 }}":    "9223372036854775808 -9223372036854775809",
		"{{ 1 < 2 == 2 }}{{ 2 ** 3 ** 2 }}{{ -2 ** 2 }}":                  "True644",
		"{% set ns = namespace(f=false) %}{% for x in [1, 2, 3] if not ns.f %}{{ x }}{% set ns.f = true %}{% endfor %}": "1",
	} {
		got, err := render(src, Context{})
		if err != nil || got != want {
			t.Errorf("%s\ngot  %q, %v\nwant %q", src, got, err, want)
		}
	}
}
