package jsonschema

import "math/big"

// types is a set of JSON types.
type types uint8

const (
	typeNull types = 1 << iota
	typeBool
	typeInteger
	typeFraction // numbers that are no integers
	typeString
	typeArray
	typeObject
	everyType = typeNull | typeBool | typeInteger | typeFraction | typeString | typeArray | typeObject
)

func typeNamed(name string) (types, bool) {
	t, ok := map[string]types{
		"null": typeNull, "boolean": typeBool, "integer": typeInteger,
		"number": typeInteger | typeFraction, "string": typeString, "array": typeArray,
		"object": typeObject,
	}[name]
	return t, ok
}

// facts is what a set of schemas says of a value.
type facts struct {
	from      []*schema
	types     types
	values    []*value // nil: no enum or const; else the values that are left
	interval  interval
	multiples []*big.Rat
	least     int // characters
	most      int // or Unbounded
	texts     []textRule
	meter     *meter
}

// textRule is a pattern or format of a string.
type textRule struct {
	s       *schema
	keyword string
	pattern *pattern
}

// gather reads what list says.
func (c *compiler) gather(list []*schema) (*facts, error) {
	f := &facts{from: list, types: everyType, most: unbounded, meter: &c.meter}
	for _, s := range list {
		if err := f.readTypes(s); err != nil {
			return nil, err
		}
		if err := f.readNumbers(s); err != nil {
			return nil, err
		}
		if err := c.readTexts(f, s); err != nil {
			return nil, err
		}
	}
	return f, c.readValues(f)
}

func (f *facts) readTypes(s *schema) error {
	v := s.v.get("type")
	if v == nil {
		return nil
	}
	list := []*value{v}
	if v.kind == isArray {
		list = v.items
	}
	var all types
	for _, x := range list {
		t, ok := typeNamed(x.text)
		if x.kind != isString || !ok {
			return s.errorf("type", "%.40q is not a type", x.text)
		}
		all |= t
	}
	if n := s.v.get("nullable"); n != nil && n.kind == isBool && n.text == "true" {
		all |= typeNull // OpenAPI 3.0
	}
	f.types &= all
	return nil
}

func (f *facts) readNumbers(s *schema) error {
	for _, b := range []struct {
		keyword   string
		exclusive bool
		narrow    func(bound)
	}{
		{"minimum", false, f.interval.raise}, {"exclusiveMinimum", true, f.interval.raise},
		{"maximum", false, f.interval.lower}, {"exclusiveMaximum", true, f.interval.lower},
		{"multipleOf", false, func(b bound) { f.multiples = append(f.multiples, b.at) }},
	} {
		v := s.v.get(b.keyword)
		if v == nil {
			continue
		}
		if v.kind != isNumber {
			return s.errorf(b.keyword, "it is not a number")
		}
		x, ok := decimal(v.text)
		if !ok {
			return s.errorf(b.keyword, "numbers of more than %d digits are not supported", maxDigits)
		}
		if b.keyword == "multipleOf" && x.Sign() <= 0 {
			return s.errorf(b.keyword, "it is not positive")
		}
		b.narrow(bound{x, b.exclusive})
	}
	return nil
}

func (c *compiler) readTexts(f *facts, s *schema) error {
	least, err := s.count("minLength", 0)
	if err != nil {
		return err
	}
	most, err := s.count("maxLength", unbounded)
	if err != nil {
		return err
	}
	f.least = max(f.least, least)
	if most != unbounded && (f.most == unbounded || most < f.most) {
		f.most = most
	}
	for _, keyword := range []string{"pattern", "format"} {
		v := s.v.get(keyword)
		if v == nil {
			continue
		}
		if v.kind != isString {
			return s.errorf(keyword, "it is not a string")
		}
		p, err := c.pattern(keyword, v.text)
		if err != nil {
			return s.errorf(keyword, "%v", err)
		}
		if p != nil {
			f.texts = append(f.texts, textRule{s, keyword, p})
		}
	}
	return nil
}

// readValues finds the values of enum and const that everything else admits.
func (c *compiler) readValues(f *facts) error {
	for _, s := range f.from {
		list, given := s.v.get("enum"), true
		switch one := s.v.get("const"); {
		case list != nil && list.kind != isArray:
			return s.errorf("enum", "it is not an array")
		case list == nil && one != nil:
			list = &value{kind: isArray, items: []*value{one}}
		case list == nil:
			given = false
		}
		if !given || f.values != nil {
			continue
		}
		f.values = []*value{}
		seen := map[string]bool{}
		for _, v := range list.items {
			ok, err := c.admits(f, v)
			if err != nil {
				return err
			}
			if id := identity(v); ok && !seen[id] {
				seen[id] = true
				f.values = append(f.values, v)
			}
		}
	}
	return nil
}

// admits reports whether every schema that f was gathered from admits v.
func (c *compiler) admits(f *facts, v *value) (bool, error) {
	for _, s := range f.from {
		if ok, err := c.valid(s, v, 0); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}
