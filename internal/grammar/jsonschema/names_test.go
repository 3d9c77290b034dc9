package jsonschema

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/conclave-serve/conclave/internal/grammar"
)

// TestNamesComeOnce writes objects with few letters and tokens that hold several names, so that names
// would come twice all the time.
func TestNamesComeOnce(t *testing.T) {
	list := []string{"{", "}", `"`, ":", ",", "a", "b", "1", " ", "[", "]", `\`, "n", "\n", `"a"`, `"a":`, `"b":1,"`, `{"`,
		`,"a":1`, `":{"`, `a":1,"a`, `":1,"a":1`, `"}`, `aa`, `"":`, `""`, `{"a":1,"a":1}`, `},"a":`, `1}`}
	v := grammar.NewVocabulary(len(list), func(id int32) []byte { return []byte(list[id]) })
	r := rand.New(rand.NewPCG(1, 2))
	for _, schema := range []string{
		`{"type":"object"}`,
		`{"type":"object","additionalProperties":{"type":"object","additionalProperties":{"const":1}}}`,
		`{"type":"object","properties":{"a":{"const":1},"b":{"const":1}},"additionalProperties":{"const":1},"minProperties":7}`,
		`{"type":"object","patternProperties":{"^a*b?$":{"const":1},"^b":{}},"additionalProperties":false,"minProperties":3}`,
		`{"type":"object","minProperties":4,"maxProperties":6,"propertyNames":{"maxLength":2},"additionalProperties":{"const":1}}`,
		`{"type":"array","items":{"type":"object","minProperties":2},"minItems":2}`,
	} {
		x, err := Compile([]byte(schema))
		if err != nil {
			t.Fatal(err)
		}
		g, err := grammar.Compile(x, v)
		if err != nil {
			t.Fatal(err)
		}
		s := validator(t, schema)
		for i := range 400 {
			budget := g.Shortest() + i%40
			if i%4 == 0 {
				budget += 150
			}
			text, complete := sample(t, g, v, r, budget)
			var doc any
			if err := json.Unmarshal(text, &doc); err != nil || !complete {
				t.Fatalf("%s: %q: %v", schema, text, err)
			}
			if err := s.Validate(doc); err != nil {
				t.Fatalf("%s: %s: %v", schema, text, err)
			}
			if twice := namesTwice(text); twice != "" {
				t.Fatalf("%s: %s: %s", schema, text, twice)
			}
		}
	}
}
