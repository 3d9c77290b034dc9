package chat

import (
	"fmt"
	"strings"

	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/grammar/jsonschema"
	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// bareForm is how a dialect writes arguments as names and values in tags: open NAME name VALUE end.
// What the parser of the dialect makes of a value decides which values may be written.
type bareForm struct {
	open, name, end *grammar.Expr
	stops           []string // none of which a value holds; each has a "<"
	unknown         argType  // of an argument whose schema says nothing
	notInName       string
}

// bareForm returns the form of a dialect that has one.
func (d *Dialect) bareForm(v Vocabulary) (bareForm, bool) {
	switch d.name {
	case qwenCoder:
		return bareForm{
			open: grammar.Literal(parameterOpen), name: grammar.Literal(">\n"),
			end:     grammar.Literal("\n" + parameterClose + "\n"),
			stops:   []string{parameterClose, "\n" + parameterOpen, "\n" + functionClose},
			unknown: argType{known: true, text: true}, notInName: ">\n",
		}, true
	case glm:
		return bareForm{
			open: d.markup(v, argKeyOpen), name: d.markup(v, argKeyClose+"\n"+argValueOpen),
			end: d.markup(v, argValueClose+"\n"), stops: []string{argValueClose}, notInName: "<\n",
		}, true
	}
	return bareForm{}, false
}

// arguments returns the arguments that a schema admits; types is what the parser knows of them.
func (b *bareForm) arguments(schema []byte, types map[string]argType) (*grammar.Expr, error) {
	stop, err := b.stop()
	if err != nil {
		return nil, err
	}
	return jsonschema.Members(schema, regular.One('<'),
		func(m *jsonschema.Member) (*grammar.Expr, error) {
			if m.Name == "" || strings.ContainsAny(m.Name, b.notInName) ||
				strings.Trim(m.Name, space) != m.Name {
				return nil, &jsonschema.Error{Keyword: "properties", Reason: fmt.Sprintf(
					"the model's format of calls has no argument named %.40q", m.Name)}
			}
			kind, ok := types[m.Name]
			if !ok || !kind.known {
				kind = b.unknown
			}
			value, err := bareValue(m, kind, stop)
			return grammar.Seq(b.open, grammar.Literal(m.Name), b.name, value, b.end), err
		})
}

// any returns arguments that no schema describes.
func (b *bareForm) any() *grammar.Expr {
	const nameBytes = 64
	name := grammar.Chars(regular.Of('-', '-', '0', '9', 'A', 'Z', '_', '_', 'a', 'z'))
	value := grammar.Repeat(grammar.Chars(regular.One('<').Not()), 0, grammar.Unbounded)
	one := grammar.Seq(b.open, grammar.Repeat(name, 1, nameBytes), b.name, value, b.end)
	return grammar.Repeat(one, 0, grammar.Unbounded)
}

// stop returns the automaton of texts that hold a stop.
func (b *bareForm) stop() (*regular.DFA, error) {
	stops := make([]*regular.Node, len(b.stops))
	for i, s := range b.stops {
		stops[i] = regular.Text(s)
	}
	found, err := regular.Union(stops...).Search()
	if err != nil {
		return nil, err
	}
	return found.DFA()
}

// bareValue returns the values of m as argType.value reads them.
func bareValue(m *jsonschema.Member, kind argType, stop *regular.DFA) (*grammar.Expr, error) {
	switch {
	case kind.onlyText():
		return m.Text(regular.One('<'), stop)
	case !kind.text:
		return m.JSON, nil // a string, if it may be one, has its quotes
	}
	other, err := lookalikes()
	if err != nil {
		return nil, err
	}
	text, err := m.Text(nil, stop, other)
	if err != nil {
		return nil, err
	}
	if m.Others == nil {
		return text, nil
	}
	return grammar.Choice(m.Others, text), nil
}

// lookalikes returns the automaton of texts that may be read as something else.
func lookalikes() (*regular.DFA, error) {
	n, err := regular.Parse(`(?i)^[ \t\r\n]*((null|none|true|false)[ \t\r\n]*$|[-\[{0-9])`,
		regular.Plain)
	if err != nil {
		return nil, err
	}
	found, err := n.Search()
	if err != nil {
		return nil, err
	}
	return found.DFA()
}
