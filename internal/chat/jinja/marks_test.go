package jinja

import (
	"strings"
	"testing"
)

// Rendered text with [brackets] around its input spans. The variable u is input.
func TestMarks(t *testing.T) {
	vars := map[string]Value{
		"u": InputString("aXbXc"), "w": InputString("  hé  "), "e": InputString(""),
		"d": Dict(func() *Object {
			o := NewObject()
			o.Set(InputString("k"), InputString("q\"v"))
			return o
		}()),
		"l": List([]Value{InputString("x"), LiteralString("y"), Int(1)}),
	}
	for src, want := range map[string]string{
		"{{ u }}":                                                       "[aXbXc]",
		"<{{ u }}>":                                                     "<[aXbXc]>",
		"{{ 'p' + u + 's' }}":                                           "p[aXbXc]s",
		"{{ 'p' ~ u ~ 1 }}":                                             "p[aXbXc]1",
		"{{ u + e + u }}":                                               "[aXbXcaXbXc]",
		"{{ ('p' + u + 's')[0:3] }}":                                    "p[aX]",
		"{{ ('p' + u + 's')[-2:] }}":                                    "[c]s",
		"{{ ('p' + u + 's')[::-1] }}":                                   "s[cXbXa]p",
		"{{ ('p' + u + 's')[1] }}":                                      "[a]",
		"{{ ('p' + u + 's')[0] }}":                                      "p",
		"{{ w.strip() }}|{{ w | trim }}":                                "[hé]|[hé]",
		"{{ ('  p' + w).strip() }}":                                     "p[  hé]",
		"{{ u.split('X') | join('-') }}":                                "[a]-[b]-[c]",
		"{{ u.split('X')[-1] }}":                                        "[c]",
		"{{ u.replace('X', 'Y') }}":                                     "[a]Y[b]Y[c]",
		"{{ 'aXb'.replace('X', u) }}":                                   "a[aXbXc]b",
		"{{ u | replace('X', '') }}":                                    "[abc]",
		"{{ u | upper }}{{ 'p' | upper }}":                              "[AXBXC]P",
		"{{ ('p' + u) | upper }}":                                       "[PAXBXC]", // conservative
		"{{ ('p' + u) | title }}":                                       "[Paxbxc]",
		"{{ u * 2 }}{{ ('p' + u) * 2 }}":                                "[aXbXcaXbXc]p[aXbXc]p[aXbXc]",
		"{{ d | tojson }}":                                              `{"[k]": "[q\"v]"}`,
		"{{ d | tojson(indent=1) }}":                                    "{\n \"[k]\": \"[q\\\"v]\"\n}",
		"{{ d }}":                                                       `{'[k]': '[q"v]'}`,
		"{{ l }}":                                                       "['[x]', 'y', 1]",
		"{{ l | join(u) }}":                                             "[xaXbXc]y[aXbXc]1",
		"{{ u.join(['p', 'q']) }}":                                      "p[aXbXc]q",
		"{% for k, v in d.items() %}{{ k }}{{ v }}{% endfor %}":         `[kq"v]`,
		"{% for c in u %}{{ c }}.{% endfor %}":                          "[a].[X].[b].[X].[c].",
		"{{ '%s-%d' % (u, 3) }}":                                        "[aXbXc]-3",
		"{{ u | format }}":                                              "[aXbXc]",
		"{{ '{}+{x}'.format(1, x=u) }}":                                 "1+[aXbXc]",
		"{{ u.center(7) }}":                                             " [aXbXc] ",
		"{{ u | indent(2, true) }}":                                     "  [aXbXc]",
		"{{ ('p ' + u + ' s') | truncate(7, true, '..', 0) }}":          "p [aXb]..",
		"{{ u | e }}{{ d.k | e }}":                                      "[aXbXcq&#34;v]",
		"{{ u | default('z') }}{{ e | default('z', true) }}":            "[aXbXc]z",
		"{% set x %}<{{ u }}>{% endset %}{{ x }}":                       "<[aXbXc]>",
		"{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(u) }}":             "<[aXbXc]>",
		"{% filter trim %} {{ u }} {% endfilter %}":                     "[aXbXc]",
		"{{ {'aXbXc': 'literal'}[u] }}":                                 "literal",
		"{{ u == 'aXbXc' }}{{ u | length }}":                            "True5",
		"{{ l | sort(attribute='0') | first if false else u | first }}": "[a]",
		"{{ u.partition('X') | last }}":                                 "[bXc]",
		"{{ ('p\n' + u).splitlines() | last }}":                         "[aXbXc]",
		"{{ (u ~ 'p') | reverse }}":                                     "p[cXbXa]",
		"{{ u | urlencode }}{{ u | string }}":                           "[aXbXcaXbXc]",
		"{{ u.removeprefix('a') }}{{ u | list | last }}":                "[XbXcc]",
		"{{ namespace(a=u).a }}{{ dict(b=u).b }}":                       "[aXbXcaXbXc]",
	} {
		tmpl, err := Parse(src, "marks")
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		spans, err := tmpl.Render(Context{Vars: vars})
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		var b strings.Builder
		for _, s := range spans {
			if s.Input {
				b.WriteString("[" + s.Text + "]")
			} else {
				b.WriteString(s.Text)
			}
		}
		if b.String() != want {
			t.Errorf("%s\ngot  %s\nwant %s", src, b.String(), want)
		}
	}
}
