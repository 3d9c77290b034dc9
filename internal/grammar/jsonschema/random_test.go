package jsonschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
	oracle "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/conclave-serve/conclave/internal/grammar"
)

// generator writes random schemas.
type generator struct{ *rand.Rand }

func (g generator) pick(list ...string) string { return list[g.IntN(len(list))] }

// schema returns a schema as JSON text; rules are names in $defs.
func (g generator) schema(depth int) string {
	kinds := []func(int) string{g.text, g.number, g.enum, g.text, g.number, g.simple}
	if depth > 0 {
		kinds = append(kinds, g.object, g.object, g.array, g.object, g.array, g.union, g.all)
	}
	return kinds[g.IntN(len(kinds))](depth)
}

func (g generator) simple(int) string {
	return g.pick(`{"type":"boolean"}`, `{"type":"null"}`, `{"type":"string"}`, `{"type":"number"}`, `true`,
		`{"type":["string","null"]}`, `{"type":["integer","boolean"]}`, `{"type":"object"}`, `{}`,
		`{"type":"array"}`, `{"$ref":"#/$defs/leaf"}`, `{"$ref":"#/$defs/tree"}`,
		`{"type":"string","description":"d","default":"x","examples":[1]}`)
}

func (g generator) text(int) string {
	s := []string{`"type":"string"`}
	switch g.IntN(5) {
	case 0:
		lo := g.IntN(6)
		s = append(s, fmt.Sprintf(`"minLength":%d`, lo), fmt.Sprintf(`"maxLength":%d`, lo+g.IntN(30)))
	case 1:
		s = append(s, `"pattern":`+g.pick(`"^[a-z]+$"`, `"^[A-Z]{2,4}-\\d{3}$"`, `"foo|ba[rz]"`, `"^(a|bc)*$"`,
			`"^\\w+@\\w+\\.com$"`, `"[0-9]$"`, `"^[^\"\\\\]{1,5}$"`, `"^.{3,9}$"`, `"\\\\n"`, `"^é+"`))
	case 2:
		s = append(s, `"format":`+g.pick(`"date"`, `"date-time"`, `"time"`, `"uuid"`, `"email"`, `"ipv4"`,
			`"ipv6"`, `"hostname"`, `"uri"`, `"duration"`, `"json-pointer"`, `"something"`))
	case 3:
		s = append(s, `"pattern":`+g.pick(`"^[a-z ]*$"`, `"x"`, `"^a.*b$"`, `"^(ab|c)+$"`),
			fmt.Sprintf(`"minLength":%d`, g.IntN(4)), fmt.Sprintf(`"maxLength":%d`, 4+g.IntN(20)))
	}
	return "{" + strings.Join(s, ",") + "}"
}

func (g generator) number(int) string {
	s := []string{`"type":` + g.pick(`"integer"`, `"number"`)}
	lo := g.pick("-1000", "-12", "-0.5", "0", "0.001", "1", "3.14", "7", "10", "99", "12345")
	hi := g.pick("12345.5", "20000", "1e6", "99999999", "12345678901234567890")
	switch g.IntN(6) {
	case 0:
		s = append(s, `"minimum":`+lo)
	case 1:
		s = append(s, `"exclusiveMaximum":`+lo)
	case 2:
		s = append(s, `"minimum":`+lo, `"exclusiveMaximum":`+hi)
	case 3:
		s = append(s, `"exclusiveMinimum":`+lo, `"maximum":`+hi)
	case 4:
		s = append(s, `"multipleOf":`+g.pick("1", "2", "3", "5", "0.5", "0.01", "10", "0.25", "7"))
		if g.IntN(2) == 0 {
			s = append(s, `"minimum":`+lo, `"maximum":`+hi)
		}
	}
	return "{" + strings.Join(s, ",") + "}"
}

func (g generator) enum(int) string {
	return g.pick(`{"enum":["red","green","blue"]}`, `{"const":"x"}`, `{"enum":[1,2.5,"3",null,true]}`,
		`{"const":{"a":[1,"b"],"c":null}}`, `{"enum":["a\"b","c\\d","e\nf","ü"]}`, `{"type":"string","enum":["one","two"]}`,
		`{"type":"integer","enum":[1,2,"three"],"minimum":2}`, `{"enum":[[],{},""]}`)
}

func (g generator) object(depth int) string {
	names := []string{"a", "b", "name", "na", "with space", `q\"uote`, "über", "id", "x", "items"}
	g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	names = names[:g.IntN(6)]
	var properties, required []string
	for _, name := range names {
		properties = append(properties, `"`+name+`":`+g.schema(depth-1))
		if g.IntN(2) == 0 {
			required = append(required, `"`+name+`"`)
		}
	}
	s := []string{`"type":"object"`, `"properties":{` + strings.Join(properties, ",") + "}"}
	if g.IntN(4) > 0 {
		s = append(s, `"required":[`+strings.Join(required, ",")+"]")
	}
	switch g.IntN(4) {
	case 0:
	case 1:
		s = append(s, `"additionalProperties":`+g.schema(depth-1))
	default:
		s = append(s, `"additionalProperties":false`)
	}
	switch g.IntN(8) {
	case 0:
		s = append(s, fmt.Sprintf(`"minProperties":%d`, g.IntN(len(names)+1)))
	case 1:
		s = append(s, fmt.Sprintf(`"maxProperties":%d`, len(required)+g.IntN(3)))
	case 2:
		s = append(s, `"patternProperties":{"^n":`+g.schema(depth-1)+`}`)
	case 3:
		s = append(s, `"propertyNames":{"pattern":"^[a-zA-Zü \"]{1,12}$"}`)
	}
	return "{" + strings.Join(s, ",") + "}"
}

func (g generator) array(depth int) string {
	s := []string{`"type":"array"`}
	if g.IntN(4) > 0 {
		s = append(s, `"items":`+g.schema(depth-1))
	}
	if g.IntN(3) == 0 {
		s = append(s, `"prefixItems":[`+g.schema(depth-1)+","+g.schema(depth-1)+"]")
	}
	lo := g.IntN(3)
	switch g.IntN(3) {
	case 0:
		s = append(s, fmt.Sprintf(`"minItems":%d`, lo))
	case 1:
		s = append(s, fmt.Sprintf(`"minItems":%d,"maxItems":%d`, lo, lo+g.IntN(4)))
	}
	return "{" + strings.Join(s, ",") + "}"
}

func (g generator) union(depth int) string {
	if g.IntN(3) == 0 {
		return `{"oneOf":[{"type":"object","properties":{"k":{"const":"p"},"v":` + g.schema(depth-1) +
			`},"required":["k"]},{"type":"object","properties":{"k":{"const":"q"}},"required":["k"],` +
			`"additionalProperties":false},{"type":"integer"}]}`
	}
	return `{"anyOf":[` + g.schema(depth-1) + "," + g.schema(depth-1) + `]}`
}

func (g generator) all(depth int) string {
	return `{"allOf":[{"type":"object","properties":{"base":` + g.schema(depth-1) + `},"required":["base"]},` +
		g.object(depth) + `]}`
}

// whole is a schema with definitions, one of them recursive.
func (g generator) whole() string {
	inner := g.schema(3)
	if inner == "true" {
		inner = "{}"
	}
	head := strings.TrimSuffix(inner, "}")
	if head != "{" {
		head += ","
	}
	return head + `"$defs":{"leaf":{"type":"string","maxLength":8},"tree":{"type":"object","properties":{` +
		`"value":{"type":"integer"},"left":{"$ref":"#/$defs/tree"},"right":{"anyOf":[{"$ref":"#/$defs/tree"},` +
		`{"type":"null"}]}},"required":["value"],"additionalProperties":false}}}`
}

// fragments is a vocabulary of all bytes and of pieces of a schema and of JSON, which cross the
// borders of what a grammar tells apart.
func fragments(schema string, r *rand.Rand) *grammar.Vocabulary {
	var list [][]byte
	for b := range 256 {
		list = append(list, []byte{byte(b)})
	}
	for _, s := range []string{`{"`, `":`, `": `, `","`, `"}`, `"]`, `}}`, `},`, `, "`, `[[`, `]]`, `true`, `null`,
		`""`, `\"`, `\\`, `\n`, `\u00`, `12`, `-1`, `0.5`, `e+1`, "\n  ", "the", " and", "日本", "é", "-0", "000", "99"} {
		list = append(list, []byte(s))
	}
	for range 150 {
		from := r.IntN(len(schema))
		list = append(list, []byte(schema[from:min(len(schema), from+1+r.IntN(8))]))
	}
	return grammar.NewVocabulary(len(list), func(id int32) []byte { return list[id] })
}

// sample writes a text at temperature 1 over equal tokens.
func sample(t *testing.T, g *grammar.Grammar, v *grammar.Vocabulary, r *rand.Rand, budget int) ([]byte, bool) {
	t.Helper()
	m := g.NewMatcher()
	mask := make([]uint64, v.Words())
	var out []byte
	for left := budget; left > 0 && !m.MustEnd(); left-- {
		if m.MayEnd() && r.IntN(3) == 0 {
			break
		}
		m.Mask(mask, left)
		var ids []int32
		for id := range int32(v.Size()) {
			if mask[id/64]>>(id%64)&1 != 0 {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			if m.MayEnd() {
				break
			}
			t.Fatalf("nothing may follow %q: %d left, %d are enough", out, left, m.Shortest())
		}
		id := ids[r.IntN(len(ids))]
		if !m.Accept(id) {
			t.Fatalf("token %d is allowed behind %q and refused", id, out)
		}
		out = append(out, v.Text(id)...)
	}
	return out, m.MayEnd()
}

type ecma regexp2.Regexp

func (e *ecma) MatchString(s string) bool {
	ok, err := (*regexp2.Regexp)(e).MatchString(s)
	return ok && err == nil
}

func (e *ecma) String() string { return (*regexp2.Regexp)(e).String() }

// validator compiles a schema for the independent implementation.
func validator(t *testing.T, raw string) *oracle.Schema {
	t.Helper()
	c := oracle.NewCompiler()
	c.DefaultDraft(oracle.Draft2020)
	c.AssertFormat()
	c.UseRegexpEngine(func(s string) (oracle.Regexp, error) {
		re, err := regexp2.Compile(s, regexp2.ECMAScript)
		return (*ecma)(re), err
	})
	doc, err := oracle.UnmarshalJSON(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return s
}

var rewrite = flag.Bool("rewrite", false, "write testdata/schemas.txt anew")

// TestSchemaFile keeps the random schemas that other tests use as they are.
func TestSchemaFile(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	v := bytesOnly()
	var b strings.Builder
	for n := 0; n < 320; {
		raw := generator{r}.whole()
		x, err := Compile([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := grammar.Compile(x, v); err == nil {
			b.WriteString(raw + "\n")
			n++
		}
	}
	const file = "testdata/schemas.txt"
	if *rewrite {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil || string(have) != b.String() {
		t.Errorf("%s is not what the generator writes (%v); run the test with -rewrite", file, err)
	}
}

// TestRandomSchemas writes texts for random schemas: all of them parse and validate, with much room
// and with the least that is enough.
func TestRandomSchemas(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const want = 400
	schemas, texts, impossible := 0, 0, 0
	for n := 0; schemas < want; n++ {
		if n > 2*want {
			t.Fatalf("only %d of %d random schemas can be compiled", schemas, n)
		}
		raw := generator{r}.whole()
		x, err := Compile([]byte(raw))
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		v := fragments(raw, r)
		g, err := grammar.Compile(x, v)
		if errors.Is(err, grammar.ErrNothing) {
			impossible++
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		schemas++
		s := validator(t, raw)
		for i := range 8 {
			budget := g.Shortest() + i/2
			if i >= 4 {
				budget = g.Shortest() + 200
			}
			text, complete := sample(t, g, v, r, budget)
			if !complete {
				t.Fatalf("%s: %q is not complete with %d tokens", raw, text, budget)
			}
			doc, err := oracle.UnmarshalJSON(bytes.NewReader(text))
			if err == nil {
				err = s.Validate(doc)
			}
			if err != nil || !json.Valid(text) {
				t.Fatalf("%s: %s: %v", raw, text, err)
			}
			if twice := namesTwice(text); twice != "" {
				t.Fatalf("%s: %s has %q twice", raw, text, twice)
			}
			texts++
		}
	}
	t.Logf("%d schemas, %d texts; %d schemas admit nothing", schemas, texts, impossible)
}

// namesTwice returns a name that an object of a JSON text has twice, or "".
func namesTwice(text []byte) string {
	if _, err := parse(text); err != nil && strings.Contains(err.Error(), "given twice") {
		return err.Error()
	}
	return ""
}

func TestObject(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	v := fragments(`{"some": ["text", 1, {"a": null}]}`, r)
	g, err := grammar.Compile(Object(), v)
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		text, complete := sample(t, g, v, r, 2+r.IntN(200))
		var object map[string]any
		if err := json.Unmarshal(text, &object); err != nil || !complete || namesTwice(text) != "" {
			t.Fatalf("%q: %v", text, err)
		}
	}
	for _, text := range []string{`{}`, `{"a":1,"b":[true,false,null]}`, "{\n  \"a\": {\n    \"b\": \"\\u00e9\"\n  }\n}"} {
		if !takes(g, text) {
			t.Errorf("%s is refused", text)
		}
	}
	for _, text := range []string{``, `[]`, `1`, `{"a"}`, `{"a":1,}`, `{"a":01}`, `{"a":"\ud800"}`, `{"a":  1}`} {
		if takes(g, text) {
			t.Errorf("%s is taken", text)
		}
	}
}
