package jsonschema

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/conclave-serve/conclave/internal/grammar"
)

func FuzzCompile(f *testing.F) {
	r := generator{rand.New(rand.NewPCG(1, 2))}
	for range 40 {
		f.Add(r.whole())
	}
	f.Add(`{"$ref":"#"}`)
	f.Add(`{"anyOf":[{"$ref":"#"},{"type":"null"}]}`)
	f.Add(`{"oneOf":[{"$ref":"#/oneOf/1"},{"$ref":"#/oneOf/0"}]}`)
	f.Add(`{"minimum":1e300,"maximum":1e-300,"multipleOf":1e-9}`)
	f.Add(`{"items":{"$ref":"#"},"minItems":1}`)
	f.Add(`{"properties":{"a":{"$ref":"#"}},"required":["a"]}`)
	v := bytesOnly()
	f.Fuzz(func(t *testing.T, raw string) {
		x, err := Compile([]byte(raw))
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		g, err := grammar.Compile(x, v)
		if err != nil {
			return
		}
		m := g.NewMatcher()
		m.Mask(make([]uint64, v.Words()), 1000)
	})
}
