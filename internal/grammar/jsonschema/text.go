package jsonschema

import (
	"errors"
	"fmt"

	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

const unbounded = grammar.Unbounded

// pattern is a pattern or format that has been used, as an expression of whole strings.
type pattern struct {
	node  *regular.Node
	dfa   *regular.DFA
	err   error // of making dfa
	meter *meter
}

// maxAutomata bounds the work on all automata of a compilation, to a second or two. A pattern
// beside a maxLength of a thousand takes a fiftieth of it.
const maxAutomata = 1 << 24

var errAutomata = errors.New("the patterns, lengths and names take too long to combine")

// meter counts the work on automata.
type meter struct{ work int }

// take counts what it took to make d.
func (m *meter) take(d *regular.DFA, err error) (*regular.DFA, error) {
	if err != nil {
		return nil, err
	}
	if m.work += d.Work(); m.work > maxAutomata {
		return nil, errAutomata
	}
	return d, nil
}

// automaton returns the pattern as an automaton.
func (p *pattern) automaton() (*regular.DFA, error) {
	if p.dfa == nil && p.err == nil {
		p.dfa, p.err = p.meter.take(p.node.DFA())
	}
	return p.dfa, p.err
}

// pattern returns what the value of a pattern or format means; a format that is not known means
// nothing, and is nil.
func (c *compiler) pattern(keyword, text string) (*pattern, error) {
	key := keyword + " " + text
	if p, ok := c.patterns[key]; ok {
		return p, nil
	}
	source := text
	if keyword == "format" {
		if source = format(text); source == "" {
			return nil, nil
		}
	}
	n, err := regular.Parse(source, regular.ECMA)
	if err != nil {
		return nil, reason(err)
	}
	if n, err = n.Search(); err != nil {
		return nil, err
	}
	p := &pattern{node: n, meter: &c.meter}
	c.patterns[key] = p
	return p, nil
}

// reason leaves out the expression that an error is about.
func reason(err error) error {
	var e *regular.Error
	if errors.As(err, &e) {
		return fmt.Errorf("at %d: %s", e.Offset, e.Reason)
	}
	return err
}

// text returns the strings that f admits.
func (c *compiler) text(f *facts) (*grammar.Expr, error) {
	bounded := f.least > 0 || f.most != unbounded
	switch {
	case len(f.texts) == 0 && bounded:
		if f.most != unbounded && f.most < f.least {
			return grammar.Choice(), nil
		}
		return quoted(grammar.Repeat(c.anyCharacter(), f.least, f.most)), nil
	case len(f.texts) == 0:
		return c.free.Ref(), nil
	case len(f.texts) == 1 && !bounded:
		return quoted(grammar.Regular(f.texts[0].pattern.node, c.characters)), nil
	}
	d, err := f.automaton()
	if err != nil {
		return nil, err
	}
	return quoted(grammar.Automaton(d, c.characters)), nil
}

// automaton returns the automaton of the strings that f admits.
func (f *facts) automaton() (*regular.DFA, error) {
	d := regular.Everything()
	for _, t := range f.texts {
		next, err := t.pattern.automaton()
		if err == nil {
			d, err = f.meter.take(d.And(next))
		}
		if err != nil {
			return nil, blame(t.s, t.keyword, err)
		}
	}
	if f.least == 0 && f.most == unbounded {
		return d, nil
	}
	err := regular.ErrTooLarge
	if regular.LengthFits(f.least, f.most) {
		d, err = f.meter.take(d.And(regular.Length(f.least, f.most)))
	}
	if err != nil {
		keyword := "maxLength"
		if f.most == unbounded {
			keyword = "minLength"
		}
		return nil, f.speaker(keyword).errorf(keyword, "beside a pattern: %v", err)
	}
	return d, nil
}

// speaker returns the schema among those of f that has a keyword.
func (f *facts) speaker(keyword string) *schema {
	for _, s := range f.from {
		if s.v.get(keyword) != nil {
			return s
		}
	}
	return f.from[0]
}

// number returns the numbers that f admits.
func (c *compiler) number(f *facts) (*grammar.Expr, error) {
	whole := f.types&typeFraction == 0
	node := numbers
	if whole {
		node = integers
	}
	n := node(&f.interval)
	if len(f.multiples) == 0 {
		return grammar.Regular(n, grammar.Chars), nil
	}
	d, err := c.meter.take(noExponent(n, whole, &f.interval).DFA())
	for _, m := range f.multiples {
		var every *regular.DFA
		if err == nil {
			every, err = multiples(m)
		}
		if err == nil {
			d, err = c.meter.take(d.And(every))
		}
	}
	if err != nil {
		return nil, f.speaker("multipleOf").errorf("multipleOf", "%v", err)
	}
	return grammar.Automaton(d, grammar.Chars), nil
}

// noExponent returns n, the numbers of a range, without exponents, which only those without bounds
// have.
func noExponent(n *regular.Node, whole bool, i *interval) *regular.Node {
	if whole || i.low.at != nil || i.high.at != nil {
		return n
	}
	return regular.Concat(n.Kids[0], n.Kids[1], n.Kids[2])
}
