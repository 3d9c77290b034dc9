package jsonschema

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/internal/grammar"
)

// TestHostile compiles schemas that are made to take long or much: each compiles, or is refused.
func TestHostile(t *testing.T) {
	repeat := func(s string, n int) string { return strings.Repeat(s, n) }
	list := func(n int, f func(i int) string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = f(i)
		}
		return strings.Join(parts, ",")
	}
	v := bytesOnly()
	for name, c := range map[string]struct{ raw, want string }{
		"deep":       {repeat(`{"items":`, 5000) + `{}` + repeat(`}`, 5000), "nested more than 64 deep"},
		"nested":     {repeat(`{"items":`, 60) + `{}` + repeat(`}`, 60), ""},
		"big enum":   {`{"enum":[` + list(20000, func(i int) string { return fmt.Sprintf(`"value %d"`, i*7919) }) + `]}`, ""},
		"properties": {`{"properties":{` + list(2000, func(i int) string { return fmt.Sprintf(`"name%d":{}`, i) }) + `}}`, ""},
		"closed":     {`{"properties":{` + list(5000, func(i int) string { return fmt.Sprintf(`"name%d":{}`, i) }) + `},"additionalProperties":false}`, "too large"},
		"counts":     {`{"properties":{` + list(300, func(i int) string { return fmt.Sprintf(`"n%d":{}`, i) }) + `},"minProperties":150}`, "keyword \"minProperties\""},
		"names": {`{"type":"object","minProperties":15000,"patternProperties":{"^[0-9]$":{}},"additionalProperties":false}`,
			"keyword \"minProperties\""},
		"doubled": {`{"$defs":{` + list(40, func(i int) string {
			return fmt.Sprintf(`"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, i+1, i+1)
		}) + `,"d40":{"minimum":0}},"const":1,"$ref":"#/$defs/d0"}`, "too many schemas"},
		"many patterns": {`{"oneOf":[` + list(300, func(i int) string {
			return fmt.Sprintf(`{"type":"string","pattern":"^%04d.{0,500}$","maxLength":500}`, i)
		}) + `]}`, "take too long to combine"},
		"max length":  {`{"type":"string","maxLength":1000000000,"minLength":999999999}`, ""},
		"max items":   {`{"type":"array","maxItems":1000000000,"minItems":5,"items":{"maxItems":1000000000}}`, ""},
		"pattern":     {`{"type":"string","pattern":"^((a{1000}){1000}){1000}$"}`, ""},
		"cut pattern": {`{"type":"string","pattern":"^((a{1000}){1000}){1000}$","maxLength":5}`, "too large"},
		"subsets":     {`{"type":"string","pattern":"a.{14}b","maxLength":500}`, "too large"},
		"anyOf":       {`{"allOf":[` + list(30, func(int) string { return `{"anyOf":[{"minLength":1},{"maxLength":9},{"type":"null"}]}` }) + `]}`, "too many combinations"},
		"oneOf": {`{"oneOf":[` + list(60, func(i int) string {
			return fmt.Sprintf(`{"type":"object","properties":{"k":{"const":%d}},"required":["k"]}`, i)
		}) + `]}`, ""},
		"mutual oneOf": {`{"oneOf":[{"$ref":"#/oneOf/1"},{"$ref":"#/oneOf/0"}]}`, "keyword \"$ref\" at /oneOf/1"},
		"recursive oneOf": {`{"oneOf":[{"type":"object","properties":{"a":{"$ref":"#"},"b":{"$ref":"#"}},"required":["a","b"]},` +
			`{"type":"object","properties":{"a":{"$ref":"#"},"c":{"$ref":"#"}},"required":["a","c"]}]}`, "too many combinations"},
		"patterns":  {`{"patternProperties":{` + list(6, func(i int) string { return fmt.Sprintf(`"a.{%d}b":{}`, i+8) }) + `}}`, "too large"},
		"numbers":   {`{"minimum":1e-300,"maximum":1e300}`, ""},
		"multiples": {`{"multipleOf":0.0000001,"minimum":1e200}`, "too large"},
		"multiple":  {`{"type":"integer","multipleOf":1999,"minimum":1e200}`, "multiples of 1999"},
		"exponent":  {`{"minimum":1e999999999}`, "keyword \"minimum\""},
		"references": {`{"$defs":{` + list(2000, func(i int) string {
			return fmt.Sprintf(`"d%d":{"properties":{"a":{"$ref":"#/$defs/d%d"},"b":{"$ref":"#/$defs/d%d"}}}`, i, (i+1)%2000, (i*7)%2000)
		}) + `},"$ref":"#/$defs/d0"}`, "too large"},
		"sets": {`{"$defs":{` + list(12, func(i int) string {
			return fmt.Sprintf(`"d%d":{"properties":{"a":{"$ref":"#/$defs/d%d"},"b":{"$ref":"#/$defs/d%d"}}}`, i, (i+1)%12, (i+2)%12)
		}) + `},"allOf":[{"$ref":"#/$defs/d0"},{"$ref":"#/$defs/d1"},{"$ref":"#/$defs/d3"}]}`, ""},
	} {
		x, err := Compile([]byte(c.raw))
		var g *grammar.Grammar
		if err == nil {
			g, err = grammar.Compile(x, v)
		}
		if err == nil {
			g.NewMatcher().Mask(make([]uint64, v.Words()), 1000)
		}
		if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %.200v, want %q", name, err, c.want)
		}
	}
}
