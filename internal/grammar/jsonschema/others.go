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

// maxNames is how many names that patterns admit are listed like those in properties.
const maxNames = 64

// others returns the properties that have none of the names in o. Where there are few, their names
// are added to o instead.
func (c *compiler) others(f *facts, o *objects) ([]otherKind, error) {
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
	var kinds []otherKind
	for matched := range 1 << len(patterns) {
		k, err := c.otherKind(f, o, patterns, matched)
		if err != nil {
			return nil, err
		}
		if k.names.Empty() {
			continue
		}
		if words, few := k.names.Words(maxNames); few {
			for _, name := range words {
				o.add(name) // as good as named
			}
			continue
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

// otherKind is properties that are not named: their names, and what is said of their values.
type otherKind struct {
	names *regular.DFA
	subs  []*schema
}

// other returns a property of one of kinds, or nil if there are none.
func (c *compiler) other(kinds []otherKind) (*grammar.Expr, error) {
	if len(kinds) == 0 {
		return nil, nil
	}
	branches := make([]*grammar.Expr, len(kinds))
	for i, k := range kinds {
		value, err := c.set(k.subs)
		if err != nil {
			return nil, err
		}
		branches[i] = grammar.Seq(grammar.Name(k.names, c.characters), c.colon(), value)
	}
	r := grammar.NewRule("a property that is not named")
	r.Set(grammar.Choice(branches...))
	return r.Ref(), nil
}

// otherKind returns the properties whose names match the patterns whose bits are set, and not the
// others.
func (c *compiler) otherKind(f *facts, o *objects, patterns []namePattern, matched int) (
	otherKind, error,
) {
	none := otherKind{names: regular.Nothing()}
	subs, err := c.otherSchemas(f, patterns, matched)
	if err != nil {
		return none, err
	}
	for _, s := range subs {
		if s.is(false) {
			return none, nil
		}
	}
	keyword := "additionalProperties"
	if len(patterns) > 0 {
		keyword = "patternProperties"
	}
	names, err := c.propertyNames(f)
	if err != nil {
		return none, err
	}
	for i, p := range patterns {
		combine := names.Minus
		if matched>>i&1 != 0 {
			combine = names.And
		}
		if names, err = c.meter.take(combine(p.name)); err != nil {
			return none, f.speaker(keyword).errorf(keyword, "%v", err)
		}
	}
	taken := make([]*regular.Node, len(o.properties))
	for i, p := range o.properties {
		taken[i] = regular.Text(p.name)
	}
	d, err := c.meter.take(regular.Union(taken...).DFA())
	if err == nil {
		names, err = c.meter.take(names.Minus(d))
	}
	if err != nil {
		return none, f.speaker(keyword).errorf(keyword, "the names to leave out: %v", err)
	}
	return otherKind{names, subs}, nil
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
	out, n := regular.Nothing(), 0
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
