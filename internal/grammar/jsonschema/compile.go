package jsonschema

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// Bounds of the sets of schemas that are looked at in one compilation, and for one place in it,
// where combinations of anyOf multiply.
const (
	maxWork         = 20_000
	maxAlternatives = 1_000
)

// compiler turns sets of schemas, all of which a value must match, into expressions.
type compiler struct {
	document
	*shared
	rules    map[string]*grammar.Rule // by the set's ids
	work     int
	checks   int // of constants
	meter    meter
	patterns map[string]*pattern
	compared map[*schema]bool // whose oneOf was found to be exclusive
}

// Compile returns the JSON texts that a schema admits, objects with their properties in the order
// of the schema. What cannot be held to is an *Error that names its keyword.
func Compile(raw []byte) (*grammar.Expr, error) {
	c, root, err := load(raw, nil)
	if err != nil {
		return nil, err
	}
	return c.set([]*schema{root})
}

// Arguments returns the JSON objects that a schema admits: the arguments of a function.
func Arguments(raw []byte) (*grammar.Expr, error) {
	c, root, err := load(raw, nil)
	if err != nil {
		return nil, err
	}
	return c.set([]*schema{root, c.anyObject()})
}

// anyObject returns a schema of objects that stands beside the document.
func (c *compiler) anyObject() *schema {
	v := &value{kind: isObject, index: map[string]int{"type": 0}, members: []member{
		{"type", &value{kind: isString, text: "object"}},
	}}
	s := &schema{id: len(c.schemas), v: v}
	c.schemas[v] = s
	return s
}

// load reads a schema; strings hold the characters of avoid as escapes.
func load(raw []byte, avoid regular.Set) (*compiler, *schema, error) {
	v, err := parse(raw)
	if err != nil {
		return nil, nil, &Error{Reason: "it is not JSON that can be read: " + err.Error()}
	}
	c := &compiler{
		shared: newShared(avoid), rules: map[string]*grammar.Rule{}, patterns: map[string]*pattern{},
		compared: map[*schema]bool{},
	}
	c.document = document{
		root: v, schemas: map[*value]*schema{}, lists: map[*value][]namedSchema{},
		enums: map[*value]map[string]bool{},
	}
	if id := v.get("$id"); id != nil {
		c.id = strings.TrimSuffix(id.text, "#")
	}
	root, err := c.at(v, "")
	return c, root, err
}

// Object returns the texts of all JSON objects.
func Object() *grammar.Expr { return mustCompile(`{"type": "object"}`) }

// mustCompile compiles a schema of this package.
func mustCompile(raw string) *grammar.Expr {
	x, err := Compile([]byte(raw))
	if err != nil {
		panic("jsonschema: " + err.Error())
	}
	return x
}

// set returns the expression of what matches all of list.
func (c *compiler) set(list []*schema) (*grammar.Expr, error) {
	ids := make([]string, len(list))
	for i, s := range list {
		ids[i] = fmt.Sprint(s.id)
	}
	key := strings.Join(ids, " ")
	if r, ok := c.rules[key]; ok {
		return r.Ref(), nil
	}
	name := "true"
	if len(list) > 0 {
		name = "the schema #" + list[0].pointer
	}
	r := grammar.NewRule(name)
	c.rules[key] = r
	var branches []*grammar.Expr
	err := c.alternatives(list, func(leaves []*schema) error {
		x, err := c.leaves(leaves)
		branches = append(branches, x)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.Set(grammar.Choice(branches...))
	return r.Ref(), nil
}

// flat is a set of schemas with what they refer to, and what is still to be chosen from.
type flat struct {
	leaves []*schema
	groups []group
	never  bool // nothing matches
}

// group is an anyOf or oneOf: one of its schemas is to match.
type group struct {
	of   []*schema
	path *step
}

// step is the way to a schema through others that speak of the same value.
type step struct {
	s    *schema
	from *step
}

func (p *step) has(s *schema) bool {
	for ; p != nil; p = p.from {
		if p.s == s {
			return true
		}
	}
	return false
}

func (f flat) clone() flat {
	return flat{slices.Clone(f.leaves), slices.Clone(f.groups), f.never}
}

// alternatives calls f for every set of schemas without anyOf, oneOf, allOf and references that
// together are what list says. Keywords of that kind have been dealt with.
func (c *compiler) alternatives(list []*schema, f func(leaves []*schema) error) error {
	var all flat
	for _, s := range list {
		if err := c.flatten(&all, s, nil); err != nil {
			return err
		}
	}
	left := min(maxAlternatives, maxWork-c.work)
	before := left
	err := c.choose(all, &left, f)
	c.work += before - left
	return err
}

// choose goes through the alternatives of all; left is how many may still be looked at.
func (c *compiler) choose(all flat, left *int, f func(leaves []*schema) error) error {
	if *left--; *left < 0 {
		return &Error{Reason: "its anyOf, oneOf, allOf and $ref have too many combinations"}
	}
	if all.never {
		return nil
	}
	if len(all.groups) == 0 {
		return f(all.leaves)
	}
	g := all.groups[0]
	all.groups = all.groups[1:]
	for _, s := range g.of {
		next := all.clone()
		if err := c.flatten(&next, s, g.path); err != nil {
			return err
		}
		if err := c.choose(next, left, f); err != nil {
			return err
		}
	}
	return nil
}

// flatten adds s to a set.
func (c *compiler) flatten(all *flat, s *schema, path *step) error {
	if path.has(s) {
		return s.errorf("$ref", "the schema refers to itself without saying anything")
	}
	if !s.speaks() || slices.Contains(all.leaves, s) {
		return nil
	}
	if s.is(false) {
		all.never = true
		return nil
	}
	all.leaves = append(all.leaves, s)
	path = &step{s, path}
	if ref := s.v.get("$ref"); ref != nil {
		target, err := c.resolve(s, ref)
		if err != nil {
			return err
		}
		if err := c.flatten(all, target, path); err != nil {
			return err
		}
	}
	subs, err := c.subs(s, "allOf")
	if err != nil {
		return err
	}
	for _, sub := range subs {
		if err := c.flatten(all, sub, path); err != nil {
			return err
		}
	}
	for _, keyword := range []string{"anyOf", "oneOf"} {
		subs, err := c.subs(s, keyword)
		if err != nil {
			return err
		}
		if keyword == "oneOf" {
			if err := c.exclusive(s, subs); err != nil {
				return err
			}
		}
		if s.v.get(keyword) != nil {
			all.groups = append(all.groups, group{subs, path})
		}
	}
	return nil
}

// leaves returns the expression of what matches all of list, whose combinations are resolved.
func (c *compiler) leaves(list []*schema) (*grammar.Expr, error) {
	f, err := c.gather(list)
	if err != nil {
		return nil, err
	}
	return c.expr(f)
}

// expr returns the expression of what f admits.
func (c *compiler) expr(f *facts) (*grammar.Expr, error) {
	if f.values != nil {
		branches := make([]*grammar.Expr, len(f.values))
		for i, v := range f.values {
			branches[i] = c.constant(v)
		}
		return grammar.Choice(branches...), nil
	}
	var branches []*grammar.Expr
	for _, part := range []struct {
		types types
		make  func(*facts) (*grammar.Expr, error)
	}{
		{typeObject, c.object}, {typeArray, c.array}, {typeString, c.text},
		{typeInteger | typeFraction, c.number},
	} {
		if f.types&part.types == 0 {
			continue
		}
		x, err := part.make(f)
		if err != nil {
			return nil, err
		}
		branches = append(branches, x)
	}
	if f.types&typeBool != 0 {
		branches = append(branches, grammar.Literal("true"), grammar.Literal("false"))
	}
	if f.types&typeNull != 0 {
		branches = append(branches, grammar.Literal("null"))
	}
	return grammar.Choice(branches...), nil
}

// blame makes an error one of a keyword, unless it is one.
func blame(s *schema, keyword string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return s.errorf(keyword, "%v", err)
}
