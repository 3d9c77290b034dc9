package jsonschema

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/internal/grammar"
)

// bytesOnly is a vocabulary of single bytes.
func bytesOnly() *grammar.Vocabulary {
	return grammar.NewVocabulary(256, func(id int32) []byte { return []byte{byte(id)} })
}

// takes reports whether g takes text as a whole.
func takes(g *grammar.Grammar, text string) bool {
	m := g.NewMatcher()
	for i := range len(text) {
		if !m.Accept(int32(text[i])) {
			return false
		}
	}
	return m.MayEnd()
}

// written returns v as JSON text, members in the order in which their names are in the schema.
func written(v *value, schema string) string {
	switch v.kind {
	case isString:
		return newShared(nil).quote(v.text)
	case isNull:
		return "null"
	case isBool, isNumber:
		return v.text
	case isArray:
		parts := make([]string, len(v.items))
		for i, item := range v.items {
			parts[i] = written(item, schema)
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	members := slices.Clone(v.members)
	place := func(m member) int {
		if i := strings.Index(schema, string(must(json.Marshal(m.name)))+":"); i >= 0 {
			return i
		}
		return len(schema)
	}
	slices.SortStableFunc(members, func(a, b member) int { return place(a) - place(b) })
	parts := make([]string, len(members))
	for i, m := range members {
		parts[i] = newShared(nil).quote(m.name) + ":" + written(m.value, schema)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

type suiteGroup struct {
	Description string
	Schema      json.RawMessage
	Tests       []struct {
		Description string
		Data        json.RawMessage
		Valid       bool
	}
}

// narrower lists what the suite holds for valid and is not said, by the beginning of its names, with
// the reason.
var narrower = map[string]string{
	"const: const with 0 does not match other zero-like types: float zero":             sameNumber,
	"const: const with 1 does not match true: float one":                               sameNumber,
	"const: const with -2.0 matches integer and float types: integer -2":               sameNumber,
	"const: float and integers are equal up to 64-bit representation limits: float is": sameNumber,
	"enum: enum with 0 does not match false: float zero":                               sameNumber,
	"enum: enum with [0] does not match [false]: [0.0]":                                sameNumber,
	"enum: enum with 1 does not match true: float one":                                 sameNumber,
	"enum: enum with [1] does not match [true]: [1.0]":                                 sameNumber,
	"type: integer type matches integers: a float with zero fractional part":           "integers are written without a point",
	"optional-bignum: integer":                                                         "integers without bounds fit 64 bits",
	"optional-bignum: number":                                                          "numbers without bounds have 18 digits before the point",
	"propertyNames: propertyNames with enum: object with property foo and bar":         "names of a short list come in their order",
	"optional-float-overflow":                                                          "multiples are written without an exponent",
	"format-time: validation of time strings: valid leap second":                       leapSecond,
	"format-time: validation of time strings: a valid time string with leap second":    leapSecond,
	"format-date-time: validation of date-time strings: a valid date-time with a leap": leapSecond,
	"format-time: validation of time strings: a valid time string with case":           "T and Z are capitals",
	"format-date-time: validation of date-time strings: case-insensitive":              "T and Z are capitals",
	"format-date-time: validation of date-time strings: a second fraction of fifteen":  "fractions of seconds have up to 9 digits",
	"format-duration: validation of duration strings: a component with many digits":    "numbers in durations have up to 9 digits",
	"format-email: validation of e-mail addresses: a quoted string":                    "the local part is not quoted",
	"format-email: validation of e-mail addresses: an IP":                              "the domain is a name",
	"format-hostname: validation of host names: consecutive hyphens":                   "no label has two hyphens in places two to four",
	"format-hostname: validation of A-label (punycode) host names":                     "labels are ASCII names",
	"format-uri: validation of URIs: a valid URL":                                      "an authority has no user and no IPv6 address",
}

// Reasons.
const (
	sameNumber = "constants are said as the schema writes them"
	leapSecond = "no second is the 60th"
)

// isNarrower returns the entry of narrower for a case, or "".
func isNarrower(name string) string {
	for beginning := range narrower {
		if strings.HasPrefix(name, beginning) {
			return beginning
		}
	}
	return ""
}

// TestSuite runs the cases of the JSON-Schema-Test-Suite: what is not valid must be refused, what is
// must be taken, and a schema that is not supported must say which keyword is not.
func TestSuite(t *testing.T) {
	files, err := filepath.Glob("testdata/suite/*.json")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	v := bytesOnly()
	run, narrowed := 0, map[string]bool{}
	refused := map[string]int{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var groups []suiteGroup
		if err := json.Unmarshal(raw, &groups); err != nil {
			t.Fatal(err)
		}
		base := strings.TrimSuffix(filepath.Base(file), ".json")
		for _, group := range groups {
			name := base + ": " + group.Description
			x, err := Compile(group.Schema)
			var unsupported *Error
			if errors.As(err, &unsupported) {
				refused[unsupported.Keyword]++
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			g, err := grammar.Compile(x, v)
			if err != nil && !errors.Is(err, grammar.ErrNothing) {
				t.Errorf("%s: %v", name, err)
				continue
			}
			for _, c := range group.Tests {
				run++
				text := written(must(parse(c.Data)), string(group.Schema))
				got := g != nil && takes(g, text)
				key := name + ": " + c.Description
				if got == c.Valid {
					continue
				}
				if beginning := isNarrower(key); c.Valid && beginning != "" {
					narrowed[beginning] = true
					continue
				}
				t.Errorf("%s: %.200s is taken: %t", key, text, got)
			}
		}
	}
	for key := range narrower {
		if !narrowed[key] {
			t.Errorf("%s: is no exception", key)
		}
	}
	t.Logf("%d cases, %d of them narrower; refused schemas by keyword: %v", run, len(narrowed), refused)
}
