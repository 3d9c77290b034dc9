package jsonschema

import "github.com/conclave-serve/conclave/internal/grammar"

// maxPrefix bounds the items that have schemas of their own.
const maxPrefix = 1_000

// counts reads a least and a most number of things.
func (s *schema) counts(least, most string) (lo, hi int, err error) {
	if lo, err = s.count(least, 0); err != nil {
		return 0, 0, err
	}
	hi, err = s.count(most, unbounded)
	return lo, hi, err
}

// narrow tightens bounds of numbers of things.
func narrow(lo, hi *int, least, most int) {
	*lo = max(*lo, least)
	if most != unbounded && (*hi == unbounded || most < *hi) {
		*hi = most
	}
}

// itemOf returns what s says of item i of an array, or nil.
func (c *compiler) itemOf(s *schema, i int) (*schema, error) {
	prefix, err := c.subs(s, "prefixItems")
	if err != nil {
		return nil, err
	}
	if i < len(prefix) {
		return prefix[i], nil
	}
	return c.sub(s, "items")
}

// array returns the arrays that f admits.
func (c *compiler) array(f *facts) (*grammar.Expr, error) {
	least, most, prefix := 0, unbounded, 0
	for _, s := range f.from {
		lo, hi, err := s.counts("minItems", "maxItems")
		if err != nil {
			return nil, err
		}
		narrow(&least, &most, lo, hi)
		if v := s.v.get("prefixItems"); v != nil {
			prefix = max(prefix, len(v.items))
		}
	}
	if prefix > maxPrefix {
		return nil, f.speaker("prefixItems").errorf("prefixItems", "more than %d are not supported",
			maxPrefix)
	}
	if most != unbounded && most < least {
		return grammar.Choice(), nil
	}
	rest, err := c.item(f, prefix)
	if err != nil {
		return nil, err
	}
	// tail is what may follow the first n items, from the last that has a schema of its own back.
	more := most - prefix
	if most == unbounded {
		more = unbounded
	} else if more < 0 {
		more = 0
	}
	n := prefix
	tail := grammar.Repeat(grammar.Seq(c.comma(), rest), max(least-n, 0), more)
	if n == 0 {
		if most == 0 {
			return c.list(grammar.Literal("["), grammar.Seq(), "]"), nil
		}
		if more != unbounded {
			more--
		}
		tail = grammar.Seq(rest, grammar.Repeat(grammar.Seq(c.comma(), rest), max(least-1, 0), more))
	}
	for n > 0 {
		n--
		if most != unbounded && n >= most {
			tail = grammar.Seq()
			continue
		}
		item, err := c.item(f, n)
		if err != nil {
			return nil, err
		}
		r := grammar.NewRule("the items from " + f.from[0].pointer)
		if n > 0 {
			item = grammar.Seq(c.comma(), item)
		}
		r.Set(grammar.Seq(item, tail))
		tail = r.Ref()
		if n > 0 && n >= least {
			tail = grammar.Optional(tail)
		}
	}
	if least == 0 {
		tail = grammar.Optional(tail)
	}
	return c.list(grammar.Literal("["), tail, "]"), nil
}

// item returns what f says of item i of an array.
func (c *compiler) item(f *facts, i int) (*grammar.Expr, error) {
	var all []*schema
	for _, s := range f.from {
		sub, err := c.itemOf(s, i)
		if err != nil {
			return nil, err
		}
		if sub != nil {
			all = append(all, sub)
		}
	}
	return c.set(all)
}
