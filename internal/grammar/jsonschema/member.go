package jsonschema

import (
	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// Member is a property of an object that is not written as JSON: the argument of a call in a format
// that puts names and values into tags.
type Member struct {
	Name string
	// JSON is all of its values, Others those that are no strings; nil if there are none.
	JSON, Others *grammar.Expr

	types types    // of all its values
	texts []*facts // that admit strings
}

// Kinds tells of which kinds a member's values may be.
type Kinds struct{ Text, Null, Bool, Other bool }

// Kinds returns the kinds of the member's values.
func (m *Member) Kinds() Kinds {
	return Kinds{
		Text: m.types&typeString != 0, Null: m.types&typeNull != 0, Bool: m.types&typeBool != 0,
		Other: m.types&^(typeString|typeNull|typeBool) != 0,
	}
}

// Members returns the objects that a schema admits, each a sequence of properties as write writes
// them, in the order of the schema. Only properties that the schema names are written. Strings in
// JSON hold no character of avoid.
func Members(raw []byte, avoid regular.Set, write func(*Member) (*grammar.Expr, error)) (
	*grammar.Expr, error,
) {
	c, root, err := load(raw, avoid)
	if err != nil {
		return nil, err
	}
	var branches []*grammar.Expr
	err = c.alternatives([]*schema{root, c.anyObject()}, func(leaves []*schema) error {
		f, err := c.gather(leaves)
		if err != nil {
			return err
		}
		if f.values != nil {
			return f.from[0].errorf("enum", "it is not supported for arguments in tags")
		}
		o, err := c.layout(f)
		if err != nil || f.types&typeObject == 0 {
			return err
		}
		for i := range o.properties {
			p := &o.properties[i]
			m, err := c.member(f, p)
			if err != nil {
				return err
			}
			if p.whole, err = write(m); err != nil {
				return err
			}
		}
		o.separator = grammar.Seq()
		branches = append(branches, o.inside())
		return nil
	})
	return grammar.Choice(branches...), err
}

func (c *compiler) member(f *facts, p *property) (*Member, error) {
	subs, err := c.property(f, p)
	if err != nil {
		return nil, err
	}
	m := &Member{Name: p.name}
	if m.JSON, err = c.set(subs); err != nil {
		return nil, err
	}
	var others []*grammar.Expr
	err = c.alternatives(subs, func(leaves []*schema) error {
		f, err := c.gather(leaves)
		if err != nil {
			return err
		}
		m.types |= f.valueTypes()
		if f.valueTypes()&typeString != 0 {
			m.texts = append(m.texts, f)
		}
		rest := *f
		if rest.types &^= typeString; rest.types == 0 {
			return nil
		}
		if f.values != nil {
			rest.values = []*value{}
			for _, v := range f.values {
				if v.kind != isString {
					rest.values = append(rest.values, v)
				}
			}
		}
		if rest.values == nil || len(rest.values) > 0 {
			x, err := c.expr(&rest)
			others = append(others, x)
			return err
		}
		return nil
	})
	if len(others) > 0 {
		m.Others = grammar.Choice(others...)
	}
	return m, err
}

// valueTypes returns the types of the values that f admits.
func (f *facts) valueTypes() types {
	if f.values == nil {
		return f.types
	}
	var all types
	for _, v := range f.values {
		all |= typeOf(v)
	}
	return all
}

// Text returns the strings that the member may be, as they are, but for those that one of except
// takes. A text without a character of apart, if there is any, is none of them.
func (m *Member) Text(apart regular.Set, except ...*regular.DFA) (*grammar.Expr, error) {
	// Beyond so many characters a length is counted by itself.
	const countable = 200
	var branches []*grammar.Expr
	for _, f := range m.texts {
		long := f.least > countable || f.most > countable
		if f.values == nil && len(f.texts) == 0 && long && !apart.Empty() {
			branches = append(branches,
				grammar.Repeat(grammar.Chars(apart.Not()), f.least, f.most))
			continue
		}
		d, err := f.strings()
		for _, e := range except {
			if err == nil {
				d, err = f.meter.take(d.Minus(e))
			}
		}
		if err != nil {
			return nil, blame(f.speaker("pattern"), "pattern", err)
		}
		if !d.Empty() {
			branches = append(branches, grammar.Automaton(d, grammar.Chars))
		}
	}
	return grammar.Choice(branches...), nil
}

// strings returns the automaton of the strings that f admits, be they listed.
func (f *facts) strings() (*regular.DFA, error) {
	if f.values == nil {
		return f.automaton()
	}
	var texts []*regular.Node
	for _, v := range f.values {
		if v.kind == isString {
			texts = append(texts, regular.Text(v.text))
		}
	}
	return f.meter.take(regular.Union(texts...).DFA())
}
