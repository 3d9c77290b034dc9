package jsonschema

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/internal/grammar"
)

// words is a vocabulary of n tokens: all bytes, words with and without a blank, numbers, pieces of
// JSON and of other scripts.
func words(n int) *grammar.Vocabulary {
	r := rand.New(rand.NewPCG(1, 2))
	list := make([][]byte, 0, n)
	for b := range 256 {
		list = append(list, []byte{byte(b)})
	}
	marks := strings.Fields(`":_" ", "} "] {" [{" \" \n \u00 = (" ); </ > }, ," . , : \\ ="" ' -- "," }} ]} {}`)
	for len(list) < n {
		var b strings.Builder
		switch k := r.IntN(100); {
		case k < 65:
			b.WriteString([]string{"", " "}[r.IntN(2)])
			for range 2 + r.IntN(8) {
				b.WriteByte("etaoinshrdlucmfwypvbgkjqxz"[min(r.IntN(26), r.IntN(26))])
			}
		case k < 88:
			for range 1 + r.IntN(4) {
				b.WriteRune(rune(0x4e00 + r.IntN(8000)))
			}
		case k < 97:
			b.WriteString(marks[r.IntN(len(marks))])
			fmt.Fprintf(&b, "%c", 'a'+r.IntN(26))
		default:
			fmt.Fprint(&b, r.IntN(1000))
		}
		list = append(list, []byte(b.String()))
	}
	return grammar.NewVocabulary(n, func(id int32) []byte { return list[id] })
}

// order is a schema as applications have it, and orderText a text that it admits.
const (
	order = `{"type":"object","properties":{
		"id":{"type":"string","format":"uuid"},
		"customer":{"type":"object","properties":{"name":{"type":"string","maxLength":80},
			"email":{"type":"string","format":"email"},"age":{"type":"integer","minimum":18,"maximum":120}},
			"required":["name","email"],"additionalProperties":false},
		"status":{"enum":["open","paid","shipped","returned"]},
		"lines":{"type":"array","minItems":1,"maxItems":50,"items":{"$ref":"#/$defs/line"}},
		"note":{"anyOf":[{"type":"string"},{"type":"null"}]},
		"tags":{"type":"object","additionalProperties":{"type":"string"}}},
		"required":["id","customer","status","lines","note"],"additionalProperties":false,
		"$defs":{"line":{"type":"object","properties":{"sku":{"type":"string","pattern":"^[A-Z]{3}-[0-9]{4}$"},
			"quantity":{"type":"integer","minimum":1},"price":{"type":"number","minimum":0}},
			"required":["sku","quantity","price"],"additionalProperties":false}}}`
	orderText = `{"id": "0f8fad5b-d9cb-469f-a165-70867728950e", "customer": {"name": "Ada Lovelace of the engine", ` +
		`"email": "ada@example.org", "age": 36}, "status": "paid", "lines": [{"sku": "ABC-1234", "quantity": 2, ` +
		`"price": 19.99}, {"sku": "XYZ-0001", "quantity": 1, "price": 5}], "note": "please leave it with the ` +
		`neighbours, and ring twice before noon", "tags": {"channel": "web", "campaign": "autumn sale"}}`
)

// longest cuts a text into the longest tokens that begin it.
func longest(v *grammar.Vocabulary, text string) []int32 {
	ids := map[string]int32{}
	for id := range int32(v.Size()) {
		ids[string(v.Text(id))] = id
	}
	var out []int32
	for text != "" {
		for n := min(len(text), 16); ; n-- {
			if id, ok := ids[text[:n]]; ok {
				out, text = append(out, id), text[n:]
				break
			}
		}
	}
	return out
}

// BenchmarkMaskDocument walks a document of 200 tokens or so: with masks that were computed for
// texts before, and with a new grammar. The figure is per token.
func BenchmarkMaskDocument(b *testing.B) {
	v := words(150_000)
	x, err := Compile([]byte(order))
	if err != nil {
		b.Fatal(err)
	}
	tokens := longest(v, orderText)
	mask := make([]uint64, v.Words())
	walk := func(b *testing.B, g *grammar.Grammar) {
		m := g.NewMatcher()
		for i, id := range tokens {
			m.Mask(mask, 4096-i)
			if mask[id/64]>>(id%64)&1 == 0 || !m.Accept(id) {
				b.Fatalf("token %q is refused at %d", v.Text(id), i)
			}
		}
		if !m.MayEnd() {
			b.Fatal("the document is not complete")
		}
	}
	perToken := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(tokens)), "ns/token")
	}
	g, err := grammar.Compile(x, v)
	if err != nil {
		b.Fatal(err)
	}
	walk(b, g)
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			walk(b, g)
		}
		perToken(b)
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			g, err := grammar.Compile(x, v)
			if err != nil {
				b.Fatal(err)
			}
			walk(b, g)
		}
		perToken(b)
	})
}

func BenchmarkCompile(b *testing.B) {
	v := words(1_000)
	for b.Loop() {
		x, err := Compile([]byte(order))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := grammar.Compile(x, v); err != nil {
			b.Fatal(err)
		}
	}
}
