package jsonschema

import (
	"errors"
	"math/bits"
)

// maxDisjoint bounds how deep two schemas are compared.
const maxDisjoint = 6

// exclusive refuses a oneOf of which two schemas may match one value: texts of either would have to
// be left out of both.
func (c *compiler) exclusive(s *schema, subs []*schema) error {
	if c.compared[s] {
		return nil // or it is being compared: then what refers to it waits for the result
	}
	c.compared[s] = true
	for i := range subs {
		for j := range i {
			ok, err := c.disjoint([]*schema{subs[i]}, []*schema{subs[j]}, 0)
			if err != nil {
				return err
			}
			if !ok {
				return s.errorf("oneOf", "schemas %d and %d may match the same value; use anyOf, or "+
					"tell them apart by type, or by a required property with const or enum", j, i)
			}
		}
	}
	return nil
}

// disjoint reports whether it is certain that no value matches all of a and all of b.
func (c *compiler) disjoint(a, b []*schema, depth int) (bool, error) {
	if depth > maxDisjoint {
		return false, nil
	}
	all := true
	err := c.alternatives(a, func(x []*schema) error {
		return c.alternatives(b, func(y []*schema) error {
			if !all {
				return nil
			}
			ok, err := c.disjointLeaves(x, y, depth)
			all = all && ok
			return err
		})
	})
	return all, err
}

func (c *compiler) disjointLeaves(a, b []*schema, depth int) (bool, error) {
	f, err := c.gather(a)
	if err != nil {
		return false, err
	}
	g, err := c.gather(b)
	if err != nil {
		return false, err
	}
	if f.values != nil || g.values != nil {
		return c.disjointValues(f, g)
	}
	for common := f.types & g.types; common != 0; common &= common - 1 {
		var ok bool
		switch types(1) << bits.TrailingZeros8(uint8(common)) {
		case typeInteger, typeFraction:
			ok = !f.interval.meets(&g.interval)
		case typeString:
			ok, err = disjointTexts(f, g)
		case typeArray:
			ok, err = c.disjointArrays(f, g)
		case typeObject:
			ok, err = c.disjointObjects(f, g, depth)
		}
		if !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// disjointValues compares schemas of which one at least lists its values.
func (c *compiler) disjointValues(f, g *facts) (bool, error) {
	if f.values == nil {
		f, g = g, f
	}
	for _, v := range f.values {
		ok, err := c.admits(g, v)
		if ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func disjointTexts(f, g *facts) (bool, error) {
	if len(f.texts)+len(g.texts) == 0 {
		return f.most != unbounded && f.most < g.least || g.most != unbounded && g.most < f.least, nil
	}
	x, err := f.automaton()
	if err != nil {
		return false, err
	}
	y, err := g.automaton()
	if err != nil {
		return false, err
	}
	both, err := f.meter.take(x.And(y))
	if errors.Is(err, errAutomata) {
		return false, f.speaker("pattern").errorf("pattern", "%v", err)
	}
	if err != nil {
		return false, nil // it is not certain
	}
	return both.Empty(), nil
}

func (c *compiler) disjointArrays(f, g *facts) (bool, error) {
	var least, most [2]int
	for i, h := range []*facts{f, g} {
		most[i] = unbounded
		for _, s := range h.from {
			lo, hi, err := s.counts("minItems", "maxItems")
			if err != nil {
				return false, err
			}
			narrow(&least[i], &most[i], lo, hi)
		}
	}
	return most[0] != unbounded && most[0] < least[1] || most[1] != unbounded && most[1] < least[0],
		nil
}

// disjointObjects looks for a property that objects of either have to have, and that cannot be the
// same in both.
func (c *compiler) disjointObjects(f, g *facts, depth int) (bool, error) {
	for _, pair := range [][2]*facts{{f, g}, {g, f}} {
		for _, s := range pair[0].from {
			required, err := s.strings("required")
			if err != nil {
				return false, err
			}
			for _, name := range required {
				ok, err := c.disjointProperty(pair[0], pair[1], name, depth)
				if ok || err != nil {
					return ok, err
				}
			}
		}
	}
	return false, nil
}

// disjointProperty reports whether a property that f requires has other values there than g admits.
func (c *compiler) disjointProperty(f, g *facts, name string, depth int) (bool, error) {
	var both [2][]*schema
	for i, h := range []*facts{f, g} {
		for _, s := range h.from {
			subs, err := c.propertyOf(s, name)
			if err != nil {
				return false, err
			}
			both[i] = append(both[i], subs...)
		}
	}
	return c.disjoint(both[0], both[1], depth+1)
}
