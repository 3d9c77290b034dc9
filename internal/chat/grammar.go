package chat

import (
	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/grammar/jsonschema"
	"github.com/conclave-serve/conclave/internal/grammar/regular"
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
	// Named says that ForceCall has begun a call of the only tool, up to its arguments.
	Named bool
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

// ContentOrCalls returns content or calls, from where ForceAnswer leads to.
func (d *Dialect) ContentOrCalls(content *grammar.Expr, r CallRules) (*grammar.Expr, error) {
	calls, err := d.Calls(r)
	if d.name == harmony {
		content = grammar.Seq(d.markup(r.Vocabulary,
			harmonyStart+assistant+harmonyChannel+"final"+harmonyMessage), content)
	}
	return grammar.Choice(content, calls), err
}

// Through puts reasoning that a token ends, as the last of entries waits for it, into a grammar of
// what follows. Where a message may be of any kind, as gpt-oss' are, this is what keeps reasoning
// to be that; elsewhere it returns entries as they are. wrap makes the grammar.
func (d *Dialect) Through(v Vocabulary, entries []Forced) (
	rest []Forced, wrap func(*grammar.Expr) *grammar.Expr,
) {
	if d.name != harmony || len(entries) == 0 || v == nil {
		return entries, func(x *grammar.Expr) *grammar.Expr { return x }
	}
	n := len(entries) - 1
	last := entries[n]
	if _, known := v.ID(last.After); !known {
		return entries, func(x *grammar.Expr) *grammar.Expr { return x }
	}
	return entries[:n], func(x *grammar.Expr) *grammar.Expr {
		parts := []*grammar.Expr{anyText(), d.markup(v, last.After)}
		for _, s := range last.Spans {
			if s.Input {
				parts = append(parts, grammar.Literal(s.Text))
			} else {
				parts = append(parts, d.markup(v, s.Text))
			}
		}
		return grammar.Seq(append(parts, x)...)
	}
}

// anyText returns any text without control tokens.
func anyText() *grammar.Expr {
	return grammar.Repeat(grammar.Chars(regular.Any()), 0, grammar.Unbounded)
}

// Holds reports whether TextAndCalls can tell where text ends and a call begins: by a control
// token.
func (d *Dialect) Holds(r CallRules) bool {
	if r.Vocabulary == nil || !d.Tools() {
		return false
	}
	before, mark, _, _ := cutMark(d.form(0).open, d.marks())
	_, known := r.Vocabulary.ID(mark)
	return before == "" && known
}

// TextAndCalls returns any text, and perhaps calls behind it, from where ForceAnswer leads to.
func (d *Dialect) TextAndCalls(r CallRules) (*grammar.Expr, error) {
	calls, err := d.Calls(r)
	text := anyText()
	switch d.name {
	case harmony:
		const messages = 8
		message := func(channel string) *grammar.Expr {
			return grammar.Seq(d.markup(r.Vocabulary,
				harmonyStart+assistant+harmonyChannel+channel+harmonyMessage), text)
		}
		before := grammar.Seq(grammar.Choice(message("analysis"), message("commentary")),
			d.markup(r.Vocabulary, harmonyEnd))
		return grammar.Seq(grammar.Repeat(before, 0, messages),
			grammar.Choice(message("final"), calls)), err
	case qwenCoder:
		text = grammar.Until(functionOpen) // which begins a call as well
	}
	return grammar.Seq(text, grammar.Optional(calls)), err
}

// FirstCall returns the number of the first call, which is 0 but for models that count through a
// conversation.
func (d *Dialect) FirstCall(r CallRules) int {
	if d.name != kimi {
		return 0
	}
	return kimiCalls(r.Prompt, r.Vocabulary)
}

// RestOfCalls returns what follows the beginning that ForceCall has for a call: of any function, or
// if r says so of the one there is.
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
	before := d.FirstCall(r)
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
		if n == 0 && r.Named {
			branches = []*grammar.Expr{arguments[0].Ref()}
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
	if tool.Loose {
		return d.anyArguments(v), nil
	}
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
	return d.spacedArguments(x), nil
}

// spacedArguments returns JSON as it follows the beginning of a call.
func (d *Dialect) spacedArguments(x *grammar.Expr) *grammar.Expr {
	if d.name == hermes {
		return grammar.Seq(grammar.Optional(grammar.Literal(" ")), x)
	}
	return x
}

// anyArguments returns arguments that no schema describes.
func (d *Dialect) anyArguments(v Vocabulary) *grammar.Expr {
	if bare, ok := d.bareForm(v); ok {
		return bare.any()
	}
	return d.spacedArguments(jsonschema.Object())
}
