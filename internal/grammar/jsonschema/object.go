package jsonschema

import (
	"slices"

	"github.com/conclave-serve/conclave/internal/grammar"
)

// maxPlaces bounds the places in an object that are told apart: properties times their counts.
const maxPlaces = 20_000

// propertyOf returns what s says of the property name.
func (c *compiler) propertyOf(s *schema, name string) ([]*schema, error) {
	var out []*schema
	properties, err := c.named(s, "properties")
	if err != nil {
		return nil, err
	}
	if v := s.v.get("properties"); v != nil {
		if i, ok := v.index[name]; ok {
			out = append(out, properties[i].schema)
		}
	}
	patterns, err := c.named(s, "patternProperties")
	if err != nil {
		return nil, err
	}
	for _, p := range patterns {
		d, err := c.nameAutomaton(s, p.name)
		if err != nil {
			return nil, err
		}
		if d.Match(name) {
			out = append(out, p.schema)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	rest, err := c.sub(s, "additionalProperties")
	if rest != nil {
		out = append(out, rest)
	}
	return out, err
}

// object returns the objects that f admits.
func (c *compiler) object(f *facts) (*grammar.Expr, error) {
	o, err := c.layout(f)
	if err != nil {
		return nil, err
	}
	kinds, err := c.others(f, o)
	if err != nil {
		return nil, err
	}
	if err := o.fits(f); err != nil {
		return nil, err
	}
	for i := range o.properties {
		p := &o.properties[i]
		subs, err := c.property(f, p)
		if err != nil {
			return nil, err
		}
		value, err := c.set(subs)
		if err != nil {
			return nil, err
		}
		p.whole = grammar.Seq(grammar.Literal(c.quote(p.name)), c.colon(), value)
	}
	if o.others, err = c.other(kinds); err != nil {
		return nil, err
	}
	o.separator = c.comma()
	open := grammar.Literal("{")
	if o.others != nil {
		open = grammar.OpenObject()
	}
	return c.list(open, o.inside(), "}"), nil
}

// layout returns the properties that f names, and bounds of how many there are.
func (c *compiler) layout(f *facts) (*objects, error) {
	o := &objects{most: unbounded, index: map[string]int{}}
	for _, s := range f.from {
		lo, hi, err := s.counts("minProperties", "maxProperties")
		if err != nil {
			return nil, err
		}
		narrow(&o.least, &o.most, lo, hi)
		if err := c.readNames(o, s); err != nil {
			return nil, err
		}
	}
	return o, o.fits(f)
}

// fits refuses more places than are told apart.
func (o *objects) fits(f *facts) error {
	if places := (len(o.properties) + 1) * (o.top() + 1); places > maxPlaces {
		keyword := "maxProperties"
		if o.least > o.most {
			keyword = "minProperties"
		}
		return f.speaker(keyword).errorf(keyword, "so many are not supported here")
	}
	return nil
}

// readNames takes in the properties that s names, in their order.
func (c *compiler) readNames(o *objects, s *schema) error {
	properties, err := c.named(s, "properties")
	if err != nil {
		return err
	}
	required, err := s.strings("required")
	if err != nil {
		return err
	}
	for _, p := range properties {
		o.add(p.name)
	}
	for _, name := range required {
		o.add(name).required = true
	}
	return nil
}

// property returns what f says of a property's value.
func (c *compiler) property(f *facts, p *property) ([]*schema, error) {
	var all []*schema
	for _, s := range f.from {
		subs, err := c.propertyOf(s, p.name)
		if err != nil {
			return nil, err
		}
		all = append(all, subs...)
		names, err := c.sub(s, "propertyNames")
		if err != nil {
			return nil, err
		}
		if names == nil {
			continue
		}
		ok, err := c.valid(names, &value{kind: isString, text: p.name}, 0)
		if err != nil {
			return nil, err
		}
		if !ok {
			all = append(all, c.nothing())
		}
	}
	return all, nil
}

// nothing returns the schema that admits nothing.
func (c *compiler) nothing() *schema {
	return &schema{id: -1, v: &value{kind: isBool, text: "false"}}
}

// property is a property that a schema names.
type property struct {
	name     string
	required bool
	whole    *grammar.Expr // with its value
}

// objects are the objects of some schemas.
type objects struct {
	properties  []property
	index       map[string]int
	others      *grammar.Expr // another property with its value; nil: there is none
	separator   *grammar.Expr // between two of them
	least, most int

	more, next []*grammar.Rule // by property and count; see inside
}

func (o *objects) add(name string) *property {
	i, ok := o.index[name]
	if !ok {
		i = len(o.properties)
		o.index[name] = i
		o.properties = append(o.properties, property{name: name})
	}
	return &o.properties[i]
}

// top is the highest count that matters: beyond it nothing changes.
func (o *objects) top() int { return max(o.least, o.most, 1) }

// inside returns what the objects hold. Two rules stand for every place: next, where one of the
// properties from i on has to come, count of them being there; and more, behind a property, where
// the object may end or a comma lead to next. So the rules are as many as the properties.
func (o *objects) inside() *grammar.Expr {
	places := (len(o.properties) + 1) * (o.top() + 1)
	o.more, o.next = make([]*grammar.Rule, places), make([]*grammar.Rule, places)
	for i := range places {
		o.more[i], o.next[i] = grammar.NewRule("the rest of an object"), grammar.NewRule("a property")
	}
	for i := range len(o.properties) + 1 {
		for n := range o.top() + 1 {
			o.at(o.next, i, n).Set(o.nextBody(i, n))
			o.at(o.more, i, n).Set(o.moreBody(i, n))
		}
	}
	inside := o.at(o.next, 0, 0).Ref()
	if o.mayEnd(0, 0) {
		return grammar.Optional(inside)
	}
	return inside
}

func (o *objects) at(rules []*grammar.Rule, i, n int) *grammar.Rule {
	return rules[i*(o.top()+1)+min(n, o.top())]
}

// mayEnd reports whether the object may end where property i could follow.
func (o *objects) mayEnd(i, n int) bool {
	return n >= o.least &&
		!slices.ContainsFunc(o.properties[i:], func(p property) bool { return p.required })
}

func (o *objects) nextBody(i, n int) *grammar.Expr {
	if o.most != unbounded && n >= o.most {
		return grammar.Choice()
	}
	if i == len(o.properties) {
		return o.otherBody(n)
	}
	p := o.properties[i]
	this := grammar.Seq(p.whole, o.at(o.more, i+1, n+1).Ref())
	if p.required {
		return this
	}
	return grammar.Choice(this, o.at(o.next, i+1, n).Ref())
}

func (o *objects) moreBody(i, n int) *grammar.Expr {
	further := grammar.Seq(o.separator, o.at(o.next, i, n).Ref())
	if o.mayEnd(i, n) {
		return grammar.Optional(further)
	}
	return further
}

// otherBody returns the properties that are not named, behind n that are.
func (o *objects) otherBody(n int) *grammar.Expr {
	if o.others == nil {
		return grammar.Choice()
	}
	most := unbounded
	if o.most != unbounded {
		most = o.most - n - 1
	}
	more := grammar.Seq(o.separator, o.others)
	return grammar.Seq(o.others, grammar.Repeat(more, max(o.least-n-1, 0), most))
}
