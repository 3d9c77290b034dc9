package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	oracle "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/grammar/jsonschema"
)

// heldTools are functions with arguments of all kinds.
func heldTools() []Tool {
	return []Tool{
		{Name: "get_weather", Parameters: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"},` +
			`"unit":{"enum":["celsius","fahrenheit"]},"days":{"type":"integer","minimum":1,"maximum":14}},` +
			`"required":["city","days"],"additionalProperties":false}`)},
		{Name: "now"},
		{Name: "store", Parameters: json.RawMessage(`{"type":"object","properties":{` +
			`"any":{},"maybe":{"anyOf":[{"type":"string"},{"type":"null"}]},"either":{"type":["string","number","boolean"]},` +
			`"list":{"type":"array","items":{"type":"string"},"maxItems":3},"on":{"type":"boolean"},` +
			`"place":{"$ref":"#/$defs/place"},"code":{"type":"string","pattern":"^[<A-Z/>\\n]{1,30}$"},` +
			`"short":{"type":"string","maxLength":12},"long":{"type":"string","minLength":2,"maxLength":900},` +
			`"word":{"$ref":"#/$defs/word"},"opt":{"type":["integer","null"]}},"required":["maybe","place","word"],` +
			`"$defs":{"place":{"type":"object","properties":{"x":{"type":"number"},"tag":{"type":"string"}},"required":["x"]},` +
			`"word":{"enum":["a","<b>","null"]}}}`)},
	}
}

// callVocabulary has all bytes, pieces that cross borders, and control tokens as v has them.
func callVocabulary(v vocabulary, r *rand.Rand) *grammar.Vocabulary {
	list := make([][]byte, 1000+len(v))
	for b := range 256 {
		list[b] = []byte{byte(b)}
	}
	words := []string{`{"`, `": `, `", "`, `"}`, "}\n", "\n</", "</parameter", ">\n", "\n<parameter=", "</function>", "null", "true",
		"12", "[", "\n```", "get_", "weather", "store", "city", "place", "<b", "</tool_call", "</arg_value", ">\n<", "日本", "é", " a", "{", "[1]"}
	for i, w := range words {
		list[256+i] = []byte(w)
	}
	for i := 300; i < 700; i++ {
		w := words[r.IntN(len(words))] + words[r.IntN(len(words))]
		list[i] = []byte(w)
	}
	return grammar.NewVocabulary(len(list), func(id int32) []byte { return list[id] })
}

// write writes a random answer that g allows.
func write(t *testing.T, g *grammar.Grammar, v vocabulary, words *grammar.Vocabulary, r *rand.Rand, budget int) []piece {
	t.Helper()
	m := g.NewMatcher()
	mask := make([]uint64, words.Words())
	var out []piece
	for left := budget; left > 0 && !m.MustEnd(); left-- {
		if m.MayEnd() && r.IntN(2) == 0 {
			break
		}
		m.Mask(mask, left)
		var ids []int32
		for id := range int32(words.Size()) {
			if mask[id/64]>>(id%64)&1 != 0 {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			break
		}
		id := ids[r.IntN(len(ids))]
		if !m.Accept(id) {
			t.Fatalf("token %d is allowed and refused", id)
		}
		switch text := words.Text(id); {
		case text == nil:
			out = append(out, piece{token: v[id-1000]})
		case len(out) > 0 && out[len(out)-1].token == "":
			out[len(out)-1].text += string(text)
		default:
			out = append(out, piece{text: string(text)})
		}
	}
	if !m.MayEnd() {
		t.Fatalf("%v is not complete after %d tokens", out, budget)
	}
	return out
}

// validators keep compiled schemas by their texts.
type validators map[string]*oracle.Schema

func (c validators) check(t *testing.T, tool Tool, arguments string) error {
	t.Helper()
	if !json.Valid([]byte(arguments)) {
		return errors.New("no JSON")
	}
	schema := tool.Parameters
	if schema == nil {
		schema = json.RawMessage(`{"type":"object","additionalProperties":false}`)
	}
	s, ok := c[string(schema)]
	if !ok {
		doc, err := oracle.UnmarshalJSON(bytes.NewReader(schema))
		if err != nil {
			t.Fatal(err)
		}
		compiler := oracle.NewCompiler()
		if err := compiler.AddResource("tool.json", doc); err != nil {
			t.Fatal(err)
		}
		if s, err = compiler.Compile("tool.json"); err != nil {
			t.Fatal(err)
		}
		c[string(schema)] = s
	}
	value, err := oracle.UnmarshalJSON(strings.NewReader(arguments))
	if err != nil {
		return err
	}
	return s.Validate(value)
}

// TestCallsAreHeld writes random calls in every dialect: the parser finds calls of the functions that
// are offered, with arguments that their schemas admit, and nothing else.
func TestCallsAreHeld(t *testing.T) {
	r, known := rand.New(rand.NewPCG(1, 2)), validators{}
	for _, name := range DialectNames()[1:] {
		for _, v := range []vocabulary{allTags(), nil} {
			if v == nil && name != hermes && name != qwenCoder && name != glm {
				continue // calls are made of control tokens
			}
			d, _ := DialectNamed(name)
			words := callVocabulary(v, r)
			tools := heldTools()
			rules := CallRules{Vocabulary: v, Tools: tools, Parallel: true}
			x, err := d.Calls(rules)
			if err != nil {
				t.Fatal(err)
			}
			g, err := grammar.Compile(x, words)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			counts := map[string]int{}
			for i := range 150 {
				budget := g.Shortest() + i%20
				if i%2 == 0 {
					budget = g.Shortest() + 400
				}
				answer := write(t, g, v, words, r, budget)
				got := parse(t, d, ParserConfig{Vocabulary: v, Tools: tools, ParallelCalls: true}, answer, whole)
				if got.Content != "" || got.Reasoning != "" || len(got.Calls) == 0 || len(got.Calls) > maxCalls {
					t.Fatalf("%s: %q is %+v", name, fmt.Sprint(answer), got)
				}
				for _, call := range got.Calls {
					i := toolIndex(tools, call.Name)
					if i < 0 {
						t.Fatalf("%s: a call of %q", name, call.Name)
					}
					counts[call.Name]++
					if err := known.check(t, tools[i], call.Arguments); err != nil {
						t.Fatalf("%s: %q has arguments %s: %v", name, fmt.Sprint(answer), call.Arguments, err)
					}
				}
			}
			if len(counts) != len(tools) {
				t.Errorf("%s: calls %v, want some of each function", name, counts)
			}
		}
	}
}

func toolIndex(tools []Tool, name string) int {
	for i, tool := range tools {
		if tool.Name == name {
			return i
		}
	}
	return -1
}

// TestRestOfCalls completes the beginning that ForceCall has.
func TestRestOfCalls(t *testing.T) {
	r, known := rand.New(rand.NewPCG(3, 4)), validators{}
	for _, name := range DialectNames()[1:] {
		d, _ := DialectNamed(name)
		v := allTags()
		words := callVocabulary(v, r)
		tools := heldTools()[:1]
		x, err := d.RestOfCalls(CallRules{Vocabulary: v, Tools: tools})
		if err != nil {
			t.Fatal(err)
		}
		g, err := grammar.Compile(x, words)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			forced := d.ForceCall(nil, v, "")
			begin := pieces(join(forced[len(forced)-1].Spans), v)
			answer := append(begin, write(t, g, v, words, r, 300)...)
			if len(forced) > 1 {
				answer = append(pieces(join(forced[0].Spans)+forced[1].After, v), answer...)
			}
			got := parse(t, d, ParserConfig{Vocabulary: v, Tools: tools, ParallelCalls: true}, answer, whole)
			if len(got.Calls) != 1 || got.Content != "" {
				t.Fatalf("%s: %q is %+v", name, fmt.Sprint(answer), got)
			}
			if err := known.check(t, tools[0], got.Calls[0].Arguments); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestCallsRefuse(t *testing.T) {
	tools := append(heldTools(), Tool{Name: "bad", Parameters: json.RawMessage(`{"not":{}}`)})
	for _, name := range DialectNames()[1:] {
		d, _ := DialectNamed(name)
		_, err := d.Calls(CallRules{Vocabulary: allTags(), Tools: tools})
		var tool *ToolError
		var schema *jsonschema.Error
		if !errors.As(err, &tool) || tool.Tool != 3 || !errors.As(err, &schema) || schema.Keyword != "not" {
			t.Errorf("%s: error %v, want one of the keyword not of tool 3", name, err)
		}
	}
}
