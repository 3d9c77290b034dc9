package jinja

import (
	"math/big"
	"unicode"
)

// testFunc decides "in is test".
type testFunc func(it *interp, in Value, a args) bool

// lookupTest returns the test of that name, or nil.
func lookupTest(name string) testFunc {
	switch name {
	case "odd", "even", "divisibleby":
		return func(it *interp, in Value, a args) bool { return divides(it, in, a, name) }
	case "in":
		return func(it *interp, in Value, a args) bool { return it.contains(a.bind(it, "seq")[0], in) }
	case "sameas":
		return func(it *interp, in Value, a args) bool { return same(a.bind(it, "other")[0], in) }
	case "filter", "test":
		return func(it *interp, in Value, a args) bool {
			a.bind(it)
			s := it.needText(in, "name").s
			return name == "filter" && lookupFilter(s) != nil || name == "test" && lookupTest(s) != nil
		}
	case "lower", "upper":
		return func(it *interp, in Value, a args) bool {
			a.bind(it)
			return cased(it.str(in).s, name == "upper")
		}
	}
	if op := comparison(name); op != "" {
		return func(it *interp, in Value, a args) bool {
			return it.compare(op, in, a.bind(it, "other")[0])
		}
	}
	if holds := typeTest(name); holds != nil {
		return func(it *interp, in Value, a args) bool {
			a.bind(it)
			return holds(in)
		}
	}
	return nil
}

func comparison(name string) string {
	switch name {
	case "==", "eq", "equalto":
		return "=="
	case "!=", "ne":
		return "!="
	case ">", "gt", "greaterthan":
		return ">"
	case ">=", "ge":
		return ">="
	case "<", "lt", "lessthan":
		return "<"
	case "<=", "le":
		return "<="
	}
	return ""
}

func typeTest(name string) func(Value) bool {
	is := func(k kind) func(Value) bool { return func(v Value) bool { return v.kind == k } }
	switch name {
	case "defined":
		return func(v Value) bool { return v.kind != kindUndefined }
	case "undefined":
		return is(kindUndefined)
	case "none":
		return is(kindNone)
	case "boolean":
		return is(kindBool)
	case "true":
		return func(v Value) bool { return v.kind == kindBool && v.num == 1 }
	case "false":
		return func(v Value) bool { return v.kind == kindBool && v.num == 0 }
	case "integer":
		return is(kindInt)
	case "float":
		return is(kindFloat)
	case "number":
		return Value.isNumber
	case "string":
		return is(kindString)
	case "mapping":
		return is(kindDict)
	case "escaped":
		return Value.isMarkup
	case "callable":
		return func(v Value) bool {
			// Jinja2's Undefined has __call__, which fails when called
			return v.kind == kindFunc || v.kind == kindMacro || v.kind == kindUndefined || v.kind == kindLoop
		}
	case "iterable":
		return func(v Value) bool {
			switch v.kind {
			case kindString, kindSeq, kindDict, kindUndefined, kindLoop:
				return true
			}
			return false
		}
	case "sequence":
		return func(v Value) bool {
			return v.kind == kindString || v.kind == kindDict || v.kind == kindUndefined ||
				v.kind == kindSeq && indexable(v)
		}
	}
	return nil
}

// divides is the tests odd, even and divisibleby.
func divides(it *interp, in Value, a args, name string) bool {
	it.defined(in)
	by := Int(2)
	if name == "divisibleby" {
		by = a.bind(it, "num")[0]
	} else {
		a.bind(it)
	}
	if !in.isNumber() {
		it.fail("'%s' object has no remainder", in.typeName())
	}
	want := Int(0)
	if name == "odd" {
		want = Int(1)
	}
	return it.equal(it.binary("%", in, by), want, 0)
}

// same is Python's "is" as far as it is well defined: singletons, small ints and identical objects.
func same(a, b Value) bool {
	switch {
	case a.kind != b.kind:
		return false
	case a.kind == kindString:
		return a.text().s == b.text().s
	case a.kind == kindUndefined:
		return false
	case a.kind == kindInt && a.ref != nil && b.ref != nil:
		return a.ref.(*big.Int).Cmp(b.ref.(*big.Int)) == 0
	}
	return a.num == b.num && a.ref == b.ref
}

// cased is str.isupper and str.islower: at least one cased character and none of the other case.
func cased(s string, upper bool) bool {
	found := false
	for _, r := range s {
		switch {
		case unicode.IsUpper(r) && upper, unicode.IsLower(r) && !upper:
			found = true
		case unicode.IsUpper(r), unicode.IsLower(r), unicode.IsTitle(r):
			return false
		}
	}
	return found
}
