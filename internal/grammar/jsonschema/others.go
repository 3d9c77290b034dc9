package jsonschema

import (
	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// maxNamePatterns bounds the patterns of names; each doubles the kinds of names there are.
const maxNamePatterns = 6

// nameAutomaton returns the names that a key of s's patternProperties is found in.
func (c *compiler) nameAutomaton(s *schema, key string) (*regular.DFA, error) {
	p, err := c.pattern("pattern", key)
	if err != nil {
		return nil, s.errorf("patternProperties", "%v", err)
	}
	d, err := p.automaton()
	if err != nil {
		return nil, s.errorf("patternProperties", "%v", err)
	}
	return d, nil
}

// namePattern is a key of patternProperties.
type namePattern struct {
	s    *schema // that has it
	sub  *schema
	name *regular.DFA
}

// others returns a property that has none of the names in o, or nil if there can be none.
func (c *compiler) others(f *facts, o *objects) (*grammar.Expr, error) {
	var patterns []namePattern
	for _, s := range f.from {
		list, err := c.named(s, "patternProperties")
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			d, err := c.nameAutomaton(s, p.name)
			if err != nil {
				return nil, err
			}
			patterns = append(patterns, namePattern{s, p.schema, d})
		}
		if len(patterns) > maxNamePatterns {
			return nil, s.errorf("patternProperties", "more than %d are not supported",
				maxNamePatterns)
		}
	}
	var branches []*grammar.Expr
	for matched := range 1 << len(patterns) {
		x, err := c.otherKind(f, o, patterns, matched)
		if err != nil {
			return nil, err
		}
		if x != nil {
			branches = append(branches, x)
		}
	}
	if len(branches) == 0 {
		return nil, nil
	}
	r := grammar.NewRule("a property that is not named")
	r.Set(grammar.Choice(branches...))
	return r.Ref(), nil
}

// otherKind returns a property whose name matches the patterns whose bits are set, and not the
// others.
func (c *compiler) otherKind(f *facts, o *objects, patterns []namePattern, matched int) (
	*grammar.Expr, error,
) {
	subs, err := c.otherSchemas(f, patterns, matched)
	if err != nil {
		return nil, err
	}
	for _, s := range subs {
		if s.is(false) {
			return nil, nil
		}
	}
	keyword := "additionalProperties"
	if len(patterns) > 0 {
		keyword = "patternProperties"
	}
	names, err := c.propertyNames(f)
	if err != nil {
		return nil, err
	}
	for i, p := range patterns {
		combine := names.Minus
		if matched>>i&1 != 0 {
			combine = names.And
		}
		if names, err = combine(p.name); err != nil {
			return nil, f.speaker(keyword).errorf(keyword, "%v", err)
		}
	}
	taken := make([]*regular.Node, len(o.properties))
	for i, p := range o.properties {
		taken[i] = regular.Text(p.name)
	}
	d, err := regular.Union(taken...).DFA()
	if err == nil {
		names, err = names.Minus(d)
	}
	if err != nil {
		return nil, f.speaker(keyword).errorf(keyword, "the names to leave out: %v", err)
	}
	if names.Empty() {
		return nil, nil
	}
	x, err := c.set(subs)
	return grammar.Seq(quoted(grammar.Automaton(names, c.characters)), c.colon(), x), err
}

// otherSchemas returns what f says of such a property's value.
func (c *compiler) otherSchemas(f *facts, patterns []namePattern, matched int) ([]*schema, error) {
	var subs []*schema
	for _, s := range f.from {
		found := false
		for i, p := range patterns {
			if p.s == s && matched>>i&1 != 0 {
				subs = append(subs, p.sub)
				found = true
			}
		}
		if found {
			continue
		}
		rest, err := c.sub(s, "additionalProperties")
		if err != nil {
			return nil, err
		}
		if rest != nil {
			subs = append(subs, rest)
		}
	}
	return subs, nil
}

// propertyNames returns the names that f admits.
func (c *compiler) propertyNames(f *facts) (*regular.DFA, error) {
	var all []*schema
	for _, s := range f.from {
		names, err := c.sub(s, "propertyNames")
		if err != nil {
			return nil, err
		}
		if names != nil {
			all = append(all, names)
		}
	}
	if len(all) == 0 {
		return regular.Everything(), nil
	}
	nothing := regular.Length(1, 0)
	out, n := nothing, 0
	err := c.alternatives(all, func(leaves []*schema) error {
		f, err := c.gather(leaves)
		if err != nil || f.types&typeString == 0 {
			return err
		}
		if n++; n > 1 {
			return f.from[0].errorf("anyOf", "it is not supported within propertyNames")
		}
		if out, err = f.strings(); err != nil {
			return blame(f.from[0], "propertyNames", err)
		}
		return nil
	})
	return out, err
}
