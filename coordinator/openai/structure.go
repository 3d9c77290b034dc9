package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/grammar/jsonschema"
)

const (
	// maxAnswerChoices and maxAnswerBytes bound guided_choice.
	maxAnswerChoices = 10_000
	maxAnswerBytes   = 1 << 16
)

// structure is what an answer's content must be.
type structure struct {
	field string // that asks for it; "" if none does
	key   string // says all that the grammar depends on
	build func() (*grammar.Expr, error)
}

// set takes what a field asks for; one request asks once.
func (s *structure) set(f *fields, name, kind, content string,
	build func() (*grammar.Expr, error),
) {
	name = f.at(name)
	if s.field != "" {
		f.fail(invalid(name, "Invalid '%s': '%s' says already what the answer must be.", name, s.field))
		return
	}
	// Quoted, no content can look like another with more behind it.
	*s = structure{field: name, key: kind + "\x00" + strconv.Quote(content), build: build}
}

// schema takes a JSON schema.
func (s *structure) schema(f *fields, name string, raw json.RawMessage) {
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil || compact.Bytes()[0] != '{' &&
		compact.String() != "true" && compact.String() != "false" {
		f.wrongType(name, "a JSON schema")
		return
	}
	s.set(f, name, "schema", compact.String(), func() (*grammar.Expr, error) {
		return jsonschema.Compile(raw)
	})
}

// object takes that the answer is any JSON object.
func (s *structure) object(f *fields, name string) {
	s.set(f, name, "object", "", func() (*grammar.Expr, error) { return jsonschema.Object(), nil })
}

// readGuided reads what vLLM calls guided decoding, and structured outputs.
func readGuided(f *fields, s *structure) {
	readGuides(f, s, "guided_")
	f.refuse("guided_whitespace_pattern", "is not supported")
	f.text("guided_decoding_backend") // there is one
	var raw map[string]json.RawMessage
	if !f.decode("structured_outputs", &raw, "an object") {
		return
	}
	inner := f.inside("structured_outputs", raw)
	readGuides(inner, s, "")
	if inner.flag("json_object") {
		s.object(inner, "json_object")
	}
	inner.refuse("structural_tag", "is not supported")
	inner.refuse("whitespace_pattern", "is not supported")
	for _, name := range []string{"disable_fallback", "disable_any_whitespace",
		"disable_additional_properties"} {
		inner.refuse(name, "is not supported", "false")
	}
}

// readGuides reads the fields that say what an answer is, whose names have a
// prefix.
func readGuides(f *fields, s *structure, prefix string) {
	if raw, ok := f.get(prefix + "json"); ok {
		var text string
		if json.Unmarshal(raw, &text) == nil {
			raw = json.RawMessage(text) // a schema as a string
		}
		s.schema(f, prefix+"json", raw)
	}
	if _, ok := f.get(prefix + "regex"); ok {
		pattern := f.text(prefix + "regex")
		s.set(f, prefix+"regex", "regex", pattern, func() (*grammar.Expr, error) {
			return grammar.Regex(pattern)
		})
	}
	if _, ok := f.get(prefix + "grammar"); ok {
		source := f.text(prefix + "grammar")
		s.set(f, prefix+"grammar", "grammar", source, func() (*grammar.Expr, error) {
			return grammar.EBNF(source)
		})
	}
	name := prefix + "choice"
	if _, ok := f.get(name); !ok {
		return
	}
	choices := readStrings(f, name, maxAnswerChoices, maxAnswerBytes)
	if f.failed() {
		return
	}
	if len(choices) == 0 {
		f.fail(invalid(f.at(name), "Invalid '%s': the array is empty.", f.at(name)))
		return
	}
	s.set(f, name, "choice", string(marshal(choices)), func() (*grammar.Expr, error) {
		branches := make([]*grammar.Expr, len(choices))
		for i, text := range choices {
			branches[i] = grammar.Literal(text)
		}
		return grammar.Choice(branches...), nil
	})
}

// readFormat reads a format of an answer: the field name of f, which is OpenAI's
// response_format or, flat, the format of a response's text.
func readFormat(f *fields, s *structure, name string, flat bool) {
	var raw map[string]json.RawMessage
	if !f.decode(name, &raw, "an object") {
		return
	}
	inner := f.inside(name, raw)
	var kind string
	if json.Unmarshal(raw["type"], &kind) != nil {
		inner.wrongType("type", "a string")
		return
	}
	switch kind {
	case "text":
	case "json_object":
		s.object(f, name)
	case "json_schema":
		holder, path := inner, ""
		if !flat {
			var object map[string]json.RawMessage
			if json.Unmarshal(raw["json_schema"], &object) != nil || object == nil {
				inner.wrongType("json_schema", "an object")
				return
			}
			holder, path = &fields{values: object, outer: inner}, "json_schema."
		}
		readNamedSchema(holder, inner, path, s)
	default:
		f.fail(unsupported(inner.at("type"), "Unsupported value for '%s': %q is not one of 'text', "+
			"'json_object' and 'json_schema'.", inner.at("type"), clip([]byte(kind))))
	}
}

// readNamedSchema reads the schema that holder's fields describe; in the names
// of fields of inner they begin with path.
func readNamedSchema(holder, inner *fields, path string, s *structure) {
	for _, name := range []string{"name", "description", "strict"} {
		raw, ok := holder.values[name]
		if !ok || string(raw) == "null" {
			continue
		}
		switch isFlag := raw[0] == 't' || raw[0] == 'f'; {
		case name == "strict" && !isFlag:
			inner.wrongType(path+name, "a boolean")
		case name != "strict" && raw[0] != '"':
			inner.wrongType(path+name, "a string")
		}
	}
	raw, ok := holder.values["schema"]
	if !ok || string(raw) == "null" {
		missing(inner, path+"schema")
		return
	}
	s.schema(inner, path+"schema", raw)
}

func missing(f *fields, name string) {
	f.fail(invalid(f.at(name), "Missing required parameter: '%s'.", f.at(name)))
}

// refuseGrammar maps the error of a grammar that a field asks for.
func refuseGrammar(field string, err error) *apiError {
	var schema *jsonschema.Error
	switch {
	case errors.As(err, &schema) && schema.Keyword != "":
		return unsupported(field, "Unsupported JSON schema in '%s': %s.", field, err)
	case errors.Is(err, grammar.ErrNothing):
		return invalid(field, "Invalid '%s': no answer can be what it asks for.", field)
	}
	return invalid(field, "Invalid '%s': %s.", field, err)
}
