package jsonschema

import (
	"math/big"
	"slices"
	"unicode/utf8"
)

// Bounds of the schemas that constants are held against: how deep they are followed for one, and
// how many there are in one compilation, each with the constant's text. A schema that speaks twice
// of the next one, which does the same, doubles them with every level.
const (
	maxReferences = 500
	maxChecks     = 250_000
	textOfCheck   = 64 // bytes
)

// valid reports whether s admits the constant v.
func (c *compiler) valid(s *schema, v *value, depth int) (bool, error) {
	if depth > maxReferences {
		return false, s.errorf("$ref", "the schema refers to itself without saying anything")
	}
	if c.checks += 1 + len(v.text)/textOfCheck; c.checks > maxChecks {
		return false, s.errorf("", "its constants are to be held against too many schemas")
	}
	if s.v.kind == isBool {
		return s.is(true), nil
	}
	for _, check := range []func(*schema, *value, int) (bool, error){
		c.validScalar, c.validApplicators, c.validItems, c.validMembers,
	} {
		if ok, err := check(s, v, depth+1); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// typeOf returns the type of a value; integers have no fraction, however they are written.
func typeOf(v *value) types {
	switch v.kind {
	case isNull:
		return typeNull
	case isBool:
		return typeBool
	case isString:
		return typeString
	case isArray:
		return typeArray
	case isObject:
		return typeObject
	}
	if x, ok := decimal(v.text); ok && x.IsInt() {
		return typeInteger
	}
	return typeFraction
}

// validScalar checks what concerns v itself.
func (c *compiler) validScalar(s *schema, v *value, _ int) (bool, error) {
	f := &facts{types: everyType, most: unbounded}
	if err := f.readTypes(s); err != nil {
		return false, err
	}
	if err := f.readNumbers(s); err != nil {
		return false, err
	}
	if err := c.readTexts(f, s); err != nil {
		return false, err
	}
	if f.types&typeOf(v) == 0 {
		return false, nil
	}
	if one := s.v.get("const"); one != nil && !equal(one, v) {
		return false, nil
	}
	if list := s.v.get("enum"); list != nil && !c.holds(list, v) {
		return false, nil
	}
	switch v.kind {
	case isNumber:
		x, ok := decimal(v.text)
		return ok && f.interval.has(x) && multipleOfAll(x, f.multiples), nil
	case isString:
		return f.validText(v.text)
	}
	return true, nil
}

func multipleOfAll(x *big.Rat, of []*big.Rat) bool {
	return !slices.ContainsFunc(of, func(m *big.Rat) bool {
		return !new(big.Rat).Quo(x, m).IsInt()
	})
}

func (f *facts) validText(s string) (bool, error) {
	n := utf8.RuneCountInString(s)
	if n < f.least || f.most != unbounded && n > f.most {
		return false, nil
	}
	for _, t := range f.texts {
		d, err := t.pattern.automaton()
		if err != nil {
			return false, blame(t.s, t.keyword, err)
		}
		if !d.Match(s) {
			return false, nil
		}
	}
	return true, nil
}

// validApplicators checks the schemas that s applies to v itself.
func (c *compiler) validApplicators(s *schema, v *value, depth int) (bool, error) {
	if ref := s.v.get("$ref"); ref != nil {
		target, err := c.resolve(s, ref)
		if err != nil {
			return false, err
		}
		if ok, err := c.valid(target, v, depth); !ok || err != nil {
			return false, err
		}
	}
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		subs, err := c.subs(s, keyword)
		if err != nil {
			return false, err
		}
		if s.v.get(keyword) == nil {
			continue
		}
		n := 0
		for _, sub := range subs {
			ok, err := c.valid(sub, v, depth)
			if err != nil {
				return false, err
			}
			if ok {
				n++
			}
		}
		if keyword == "allOf" && n < len(subs) || keyword == "anyOf" && n == 0 ||
			keyword == "oneOf" && n != 1 {
			return false, nil
		}
	}
	return true, nil
}

func (c *compiler) validItems(s *schema, v *value, depth int) (bool, error) {
	if v.kind != isArray {
		return true, nil
	}
	least, most, err := s.counts("minItems", "maxItems")
	if err != nil {
		return false, err
	}
	if n := len(v.items); n < least || most != unbounded && n > most {
		return false, nil
	}
	for i, item := range v.items {
		sub, err := c.itemOf(s, i)
		if err != nil {
			return false, err
		}
		if sub == nil {
			continue
		}
		if ok, err := c.valid(sub, item, depth); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (c *compiler) validMembers(s *schema, v *value, depth int) (bool, error) {
	if v.kind != isObject {
		return true, nil
	}
	least, most, err := s.counts("minProperties", "maxProperties")
	if err != nil {
		return false, err
	}
	if n := len(v.members); n < least || most != unbounded && n > most {
		return false, nil
	}
	required, err := s.strings("required")
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(required, func(name string) bool { return v.get(name) == nil }) {
		return false, nil
	}
	names, err := c.sub(s, "propertyNames")
	if err != nil {
		return false, err
	}
	for _, m := range v.members {
		subs, err := c.propertyOf(s, m.name)
		if err != nil {
			return false, err
		}
		for _, sub := range subs {
			if ok, err := c.valid(sub, m.value, depth); !ok || err != nil {
				return false, err
			}
		}
		if names == nil {
			continue
		}
		if ok, err := c.valid(names, &value{kind: isString, text: m.name}, depth); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}
