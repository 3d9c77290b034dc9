package jsonschema

import (
	"errors"
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/internal/grammar"
)

// TestKeywords holds what the suite does not: order, spelling and spaces.
func TestKeywords(t *testing.T) {
	v := bytesOnly()
	for _, c := range []struct {
		schema  string
		yes, no []string
	}{
		{ // the order is the schema's; optional properties may be left out
			`{"type":"object","properties":{"b":{"type":"integer"},"a":{"type":"null"},"c":{"type":"boolean"}},"required":["a"],"additionalProperties":false}`,
			[]string{`{"b":1,"a":null,"c":true}`, `{"a":null}`, `{"b":-7, "a":null}`, "{\n  \"a\": null,\n  \"c\": false\n}"},
			[]string{`{"a":null,"b":1}`, `{}`, `{"a":null,"d":1}`, `{"a":null,"a":null}`, `{"a":null,}`, `{"a":null  }`, "{\"a\":\tnull}"},
		},
		{ // other names come last, and are others
			`{"type":"object","properties":{"ab":{"type":"integer"}},"additionalProperties":{"type":"string"}}`,
			[]string{`{}`, `{"ab":1}`, `{"ab":1,"a":"x","abc":"y","":"z"}`, `{"x\"y":"z"}`},
			[]string{`{"ab":"x"}`, `{"x":"y","ab":1}`, `{"\u0061b":"x"}`, `{"x":1}`},
		},
		{ // a required property that is not described
			`{"type":"object","required":["z"],"additionalProperties":{"type":"integer"}}`,
			[]string{`{"z":1}`, `{"z":1,"y":2}`}, []string{`{}`, `{"y":2}`, `{"z":"1"}`},
		},
		{
			`{"type":"object","patternProperties":{"^x":{"type":"integer"},"y$":{"minimum":5}},"additionalProperties":false}`,
			[]string{`{"x":1,"y":"a","xy":5}`, `{"ay":7}`}, []string{`{"a":1}`, `{"xy":4}`, `{"xy":"a"}`},
		},
		{
			`{"type":"object","properties":{"a":{},"b":{},"c":{}},"minProperties":2,"maxProperties":2,"additionalProperties":false}`,
			[]string{`{"a":1,"b":2}`, `{"b":1,"c":2}`}, []string{`{"a":1}`, `{"a":1,"b":2,"c":3}`, `{}`},
		},
		{
			`{"type":"object","maxProperties":2}`,
			[]string{`{}`, `{"a":1,"b":2}`}, []string{`{"a":1,"b":2,"c":3}`},
		},
		{
			`{"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":{"type":"null"},"minItems":1,"maxItems":4}`,
			[]string{`[1]`, `[1,"a"]`, `[1, "a", null, null]`}, []string{`[]`, `["a"]`, `[1,"a",1]`, `[1,"a",null,null,null]`},
		},
		{`{"type":"array","items":false}`, []string{`[]`, `[ ]`}, []string{`[1]`}},
		{`{"type":"integer"}`, []string{`0`, `-5`, `123456789012345678`}, []string{`-0`, `01`, `1.0`, `1e2`, `1234567890123456789`}},
		{`{"type":"number"}`, []string{`0`, `-0.5`, `1e10`, `12.50E-3`}, []string{`.5`, `1.`, `+1`, `1e100`, `00`}},
		{`{"type":"integer","minimum":-3,"exclusiveMaximum":120}`,
			[]string{`-3`, `-1`, `0`, `9`, `10`, `99`, `100`, `119`}, []string{`-4`, `120`, `200`, `-10`}},
		{`{"type":"number","minimum":0.25,"maximum":10}`,
			[]string{`0.25`, `0.2500`, `0.3`, `9.99`, `10`, `10.0`, `1.5`}, []string{`0.2`, `0.249`, `10.01`, `11`, `0`, `-1`, `1e0`}},
		{`{"type":"number","exclusiveMinimum":-1.5,"exclusiveMaximum":0}`,
			[]string{`-1.4`, `-1.49999`, `-1`, `-0.1`, `-0.0001`}, []string{`-1.5`, `-1.50`, `0`, `-0`, `-0.0`, `-1.6`, `-2`, `1`}},
		{`{"type":"number","multipleOf":0.25}`, []string{`0`, `1`, `-2.5`, `0.75`, `1.00`}, []string{`0.3`, `1.005`, `1e2`, `1.`}},
		{`{"type":"integer","multipleOf":7,"minimum":10,"maximum":30}`, []string{`14`, `21`, `28`}, []string{`7`, `15`, `35`}},
		{`{"type":"string","minLength":2,"maxLength":3}`,
			[]string{`"ab"`, `"日本語"`, `"\n\u00e9"`, `"\ud83d\ude00x"`}, []string{`"a"`, `"abcd"`, `"\ud83d\ude00"`, `"\ud83dxx"`}},
		{`{"type":"string","pattern":"^[a-z\"]+$","maxLength":3}`, []string{`"ab"`, `"a\"b"`}, []string{`""`, `"abcd"`, `"\u0061"`}},
		{`{"enum":["a/b","ü",{"x":[1]}]}`, []string{`"a/b"`, `"ü"`, `{"x": [1]}`}, []string{`"a\/b"`, `"\u00fc"`}},
		{`{"type":"string","enum":["a",1,"b"],"pattern":"^b"}`, []string{`"b"`}, []string{`"a"`, `1`}},
		{`{"type":["string","null"],"nullable":false}`, []string{`"a"`, `null`}, []string{`1`}},
		{`{"type":"string","nullable":true}`, []string{`"a"`, `null`}, []string{`1`}},
		{ // siblings of $ref, and allOf, hold together
			`{"$defs":{"base":{"properties":{"a":{"type":"integer"}},"required":["a"]}},"$ref":"#/$defs/base","type":"object",` +
				`"allOf":[{"properties":{"a":{"minimum":5},"b":{"type":"string"}}}],"additionalProperties":false,"properties":{"a":{},"b":{}}}`,
			[]string{`{"a":5}`, `{"a":7,"b":"x"}`}, []string{`{"a":4}`, `{"a":"5"}`, `{}`, `{"a":5,"c":1}`},
		},
		{ // anyOf and its siblings
			`{"type":"object","properties":{"a":{},"b":{}},"additionalProperties":false,"anyOf":[{"required":["a"]},{"required":["b"]}]}`,
			[]string{`{"a":1}`, `{"b":1}`, `{"a":1,"b":2}`}, []string{`{}`},
		},
		{ // a tree
			`{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["v","next"],"additionalProperties":false}`,
			[]string{`{"v":1,"next":null}`, `{"v":1,"next":{"v":2,"next":{"v":3,"next":null}}}`}, []string{`{"v":1}`, `{"v":1,"next":{}}`},
		},
		{`{"$anchor":"top","type":["array","integer"],"items":{"$ref":"#top"}}`, []string{`1`, `[1,[2,[]]]`}, []string{`["a"]`}},
		{`{"type":"string","format":"date"}`, []string{`"2024-02-29"`, `"2026-11-30"`}, []string{`"2023-02-29"`, `"2026-11-31"`, `"26-1-1"`}},
		{`{"type":"string","format":"color"}`, []string{`"anything"`}, []string{`1`}},
		{`true`, []string{`1`, `[{"a":[]}]`, `"x"`, `null`}, []string{``, `[1`, `nul`}},
	} {
		x, err := Compile([]byte(c.schema))
		if err != nil {
			t.Errorf("%s: %v", c.schema, err)
			continue
		}
		g, err := grammar.Compile(x, v)
		if err != nil {
			t.Errorf("%s: %v", c.schema, err)
			continue
		}
		for _, text := range c.yes {
			if !takes(g, text) {
				t.Errorf("%s: %s is refused", c.schema, text)
			}
		}
		for _, text := range c.no {
			if takes(g, text) {
				t.Errorf("%s: %s is taken", c.schema, text)
			}
		}
	}
}

// TestErrorsNameTheKeyword lists what is refused.
func TestErrorsNameTheKeyword(t *testing.T) {
	for _, c := range []struct{ schema, keyword, pointer string }{
		{`{"not":{}}`, "not", ""},
		{`{"properties":{"a/b":{"items":{"if":true}}}}`, "if", "/properties/a~1b/items"},
		{`{"type":"array","uniqueItems":true}`, "uniqueItems", ""},
		{`{"contains":{}}`, "contains", ""},
		{`{"anyOf":[{"dependentRequired":{}}]}`, "dependentRequired", "/anyOf/0"},
		{`{"unevaluatedProperties":false}`, "unevaluatedProperties", ""},
		{`{"$ref":"https://example.com/x"}`, "$ref", ""},
		{`{"$ref":"#/$defs/none"}`, "$ref", ""},
		{`{"$ref":"#"}`, "$ref", ""},
		{`{"$dynamicRef":"#x"}`, "$dynamicRef", ""},
		{`{"items":[{}]}`, "items", ""},
		{`{"oneOf":[{"type":"string"},{"maxLength":3}]}`, "oneOf", ""},
		{`{"type":"str"}`, "type", ""},
		{`{"type":"string","pattern":"(?=a)"}`, "pattern", ""},
		{`{"type":"string","minLength":-1}`, "minLength", ""},
		{`{"multipleOf":0}`, "multipleOf", ""},
		{`{"type":"number","multipleOf":0.123456789}`, "multipleOf", ""},
		{`{"required":"a"}`, "required", ""},
		{`{"properties":[]}`, "properties", ""},
		{`{"enum":1}`, "enum", ""},
		{`{"items":{"$id":"x"}}`, "$id", "/items"},
		{`{"type":"string","pattern":1}`, "pattern", ""},
		{`7`, "", ""},
		{`{"a":1,"a":2}`, "", ""},
		{`{`, "", ""},
	} {
		_, err := Compile([]byte(c.schema))
		var e *Error
		if !errors.As(err, &e) || e.Keyword != c.keyword || e.Pointer != c.pointer {
			t.Errorf("%s: error %v, want one of %q at %q", c.schema, err, c.keyword, c.pointer)
			continue
		}
		if c.keyword != "" && !strings.Contains(err.Error(), `"`+c.keyword+`"`) {
			t.Errorf("%s: %v does not name its keyword", c.schema, err)
		}
	}
}

func TestNothingMatches(t *testing.T) {
	v := bytesOnly()
	for _, schema := range []string{
		`false`, `{"enum":[]}`, `{"type":"string","enum":[1]}`, `{"type":"integer","minimum":2,"maximum":1}`,
		`{"type":"string","minLength":3,"maxLength":2}`, `{"type":"string","minLength":3,"maxLength":2,"pattern":"a"}`,
		`{"type":"object","minProperties":3,"patternProperties":{"^[ab]$":{}},"additionalProperties":false}`, `{"allOf":[{"type":"string"},{"type":"null"}]}`,
		`{"type":"object","properties":{"a":false},"required":["a"]}`,
		`{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}`,
		`{"type":"object","required":["a","b"],"maxProperties":1}`,
		`{"type":"string","pattern":"^a","maxLength":0}`, `{"type":"array","items":false,"minItems":1}`,
	} {
		x, err := Compile([]byte(schema))
		if err != nil {
			t.Errorf("%s: %v", schema, err)
			continue
		}
		if _, err := grammar.Compile(x, v); !errors.Is(err, grammar.ErrNothing) {
			t.Errorf("%s: error %v, want %v", schema, err, grammar.ErrNothing)
		}
	}
}
