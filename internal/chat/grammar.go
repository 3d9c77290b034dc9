package chat

import (
	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/grammar/jsonschema"
)

// maxCalls bounds the calls of an answer that is held to a grammar.
const maxCalls = 16

// CallRules say which calls an answer may make.
type CallRules struct {
	Vocabulary Vocabulary
	// Prompt is the encoded prompt: some models number their calls.
	Prompt []int32
	// Tools are the functions that may be called, each with arguments that its schema admits.
	Tools []Tool
	// Parallel allows several calls.
	Parallel bool
}

// ToolError says which tool's schema cannot be held to.
type ToolError struct {
	Tool int // index among the tools
	Err  error
}

// Error implements error.
func (e *ToolError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ToolError) Unwrap() error { return e.Err }

// Calls returns one or more calls as the dialect writes them, from the first's opening on.
func (d *Dialect) Calls(r CallRules) (*grammar.Expr, error) {
	x, err := d.RestOfCalls(r)
	if err != nil {
		return nil, err
	}
	return grammar.Seq(d.markup(r.Vocabulary, d.form(0).open), x), nil
}

// RestOfCalls returns what follows the beginning that ForceCall has for a call of any function.
func (d *Dialect) RestOfCalls(r CallRules) (*grammar.Expr, error) {
	arguments := make([]*grammar.Rule, len(r.Tools))
	types := readSchemas(r.Tools)
	for i, tool := range r.Tools {
		x, err := d.argumentsOf(r.Vocabulary, tool, types[tool.Name])
		if err != nil {
			return nil, &ToolError{i, err}
		}
		arguments[i] = grammar.NewRule("the arguments of " + tool.Name)
		arguments[i].Set(x)
	}
	before := 0
	if d.name == kimi {
		before = kimiCalls(r.Prompt, r.Vocabulary)
	}
	calls := 1
	if r.Parallel && d.form(0).next != "" {
		calls = maxCalls
	}
	// From the last call that there may be back to the first.
	rest := d.markup(r.Vocabulary, d.form(0).finish)
	for n := calls - 1; n >= 0; n-- {
		form := d.form(before + n)
		branches := make([]*grammar.Expr, len(r.Tools))
		for i, tool := range r.Tools {
			branches[i] = grammar.Seq(grammar.Literal(d.calledName(tool.Name)),
				d.markup(r.Vocabulary, form.behind), arguments[i].Ref())
		}
		call := grammar.NewRule("a call")
		call.Set(grammar.Seq(grammar.Choice(branches...), d.markup(r.Vocabulary, form.end), rest))
		if n > 0 {
			rest = grammar.Choice(d.markup(r.Vocabulary, form.finish),
				grammar.Seq(d.markup(r.Vocabulary, form.next), call.Ref()))
		} else {
			rest = call.Ref()
		}
	}
	return rest, nil
}

// markup returns text of a dialect, whose control tokens are ids as far as the vocabulary has them.
func (d *Dialect) markup(v Vocabulary, text string) *grammar.Expr {
	var parts []*grammar.Expr
	marks := d.marks()
	for {
		before, mark, after, ok := cutMark(text, marks)
		if !ok {
			return grammar.Seq(append(parts, grammar.Literal(text))...)
		}
		id, known := int32(0), false
		if v != nil {
			id, known = v.ID(mark)
		}
		parts = append(parts, grammar.Literal(before))
		if known {
			parts = append(parts, grammar.Token(id))
		} else {
			parts = append(parts, grammar.Literal(mark))
		}
		text = after
	}
}

// argumentsOf returns the arguments of a tool as the dialect writes them.
func (d *Dialect) argumentsOf(v Vocabulary, tool Tool, types map[string]argType) (
	*grammar.Expr, error,
) {
	schema := []byte(tool.Parameters)
	if len(schema) == 0 || string(schema) == "null" {
		schema = []byte(`{"type": "object", "additionalProperties": false}`)
	}
	if bare, ok := d.bareForm(v); ok {
		return bare.arguments(schema, types)
	}
	x, err := jsonschema.Arguments(schema)
	if err != nil {
		return nil, err
	}
	if d.name == hermes {
		x = grammar.Seq(grammar.Optional(grammar.Literal(" ")), x)
	}
	return x, nil
}
