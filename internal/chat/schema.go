package chat

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/grammar/jsonschema"
)

// argType is what a tool's schema says of one argument.
type argType struct {
	known bool // the schema has the argument, and says something of its type
	text  bool // it may be a string
	null  bool // it may be null
	bool  bool
	other bool // it may be a number, an array or an object
}

// argTypes holds the types of arguments by tool and name.
type argTypes map[string]map[string]argType

func readSchemas(tools []Tool) argTypes {
	types := make(argTypes, len(tools))
	for _, tool := range tools {
		var schema struct {
			Properties map[string]json.RawMessage `json:"properties"`
		}
		// a schema of another form says nothing
		_ = json.Unmarshal(tool.Parameters, &schema)
		args := make(map[string]argType, len(schema.Properties))
		indirect := map[string]bool{}
		for name, property := range schema.Properties {
			args[name] = readType(property, 0)
			indirect[name] = !args[name].known && isIndirect(property)
		}
		if slices.Contains(slices.Collect(maps.Values(indirect)), true) {
			lookUp(args, indirect, tool.Parameters)
		}
		types[tool.Name] = args
	}
	return types
}

// isIndirect reports whether a property says its type by reference, or otherwise not plainly.
func isIndirect(property json.RawMessage) bool {
	var says struct {
		Ref   json.RawMessage `json:"$ref"`
		AllOf json.RawMessage `json:"allOf"`
		Const json.RawMessage `json:"const"`
	}
	return json.Unmarshal(property, &says) == nil &&
		(says.Ref != nil || says.AllOf != nil || says.Const != nil)
}

// lookUp finds the types of indirect arguments.
func lookUp(args map[string]argType, indirect map[string]bool, schema json.RawMessage) {
	// a schema that is not understood as a whole says nothing more
	_, _ = jsonschema.Members(schema, nil, func(m *jsonschema.Member) (*grammar.Expr, error) {
		k := m.Kinds()
		if all := k.Text && k.Null && k.Bool && k.Other; indirect[m.Name] && !all {
			args[m.Name] = argType{known: true, text: k.Text, null: k.Null, bool: k.Bool, other: k.Other}
		}
		return grammar.Seq(), nil
	})
}

// maxAlternatives bounds how deep anyOf within anyOf is followed.
const maxAlternatives = 4

func readType(raw json.RawMessage, depth int) argType {
	var schema struct {
		Type     json.RawMessage   `json:"type"`
		Enum     []json.RawMessage `json:"enum"`
		AnyOf    []json.RawMessage `json:"anyOf"`
		OneOf    []json.RawMessage `json:"oneOf"`
		Nullable bool              `json:"nullable"`
	}
	var t argType
	if json.Unmarshal(raw, &schema) != nil {
		return t
	}
	var one string
	var several []string
	if json.Unmarshal(schema.Type, &one) == nil {
		several = []string{one}
	} else {
		_ = json.Unmarshal(schema.Type, &several)
	}
	for _, name := range several {
		t.add(name)
	}
	if len(several) == 0 {
		for _, value := range schema.Enum {
			t.add(kindOf(value))
		}
	}
	if depth < maxAlternatives {
		for _, alternative := range slices.Concat(schema.AnyOf, schema.OneOf) {
			a := readType(alternative, depth+1)
			t = argType{t.known || a.known, t.text || a.text, t.null || a.null, t.bool || a.bool,
				t.other || a.other}
		}
	}
	t.null = t.null || schema.Nullable
	return t
}

// kindOf names the JSON type of a value.
func kindOf(value json.RawMessage) string {
	switch value[0] {
	case '"':
		return "string"
	case 'n':
		return "null"
	case 't', 'f':
		return "boolean"
	}
	return "number"
}

func (t *argType) add(name string) {
	t.known = true
	switch strings.ToLower(name) {
	case "string", "str", "text", "enum":
		t.text = true
	case "null", "none":
		t.null = true
	case "boolean", "bool":
		t.bool = true
	default:
		t.other = true
	}
}

// onlyText says that the argument is a string whatever it looks like.
func (t argType) onlyText() bool { return t.known && t.text && !t.null && !t.bool && !t.other }

// value returns the JSON of an argument written as bare text.
func (t argType) value(text string) string {
	trimmed := strings.Trim(text, space)
	switch lower := strings.ToLower(trimmed); {
	case t.onlyText():
	case t.null && (lower == "null" || lower == "none"):
		return "null"
	case t.bool && (lower == "true" || lower == "false"):
		return lower
	case (!t.known || t.other) && json.Valid([]byte(trimmed)) && !(t.text && trimmed[0] == '"'):
		return trimmed
	}
	return `"` + escaped(text) + `"`
}

// escaped returns the inside of the JSON string of text.
func escaped(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ':
			const hex = "0123456789abcdef"
			b.WriteString(`\u00`)
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
