package jinja

import (
	"slices"
	"strings"
)

// args are the evaluated arguments of a call to the function or filter name.
type args struct {
	name  string
	pos   []Value
	names []string // keyword arguments, parallel to named
	named []Value
}

func (a *args) has(name string) bool { return slices.Contains(a.names, name) }

// take removes a keyword argument.
func (a *args) take(name string) (Value, bool) {
	i := slices.Index(a.names, name)
	if i < 0 {
		return Value{}, false
	}
	v := a.named[i]
	a.names = slices.Delete(slices.Clone(a.names), i, i+1)
	a.named = slices.Delete(slices.Clone(a.named), i, i+1)
	return v, true
}

// bind matches the arguments with parameters; one that ends with "?" may be missing.
func (a args) bind(it *interp, params ...string) []Value {
	if len(a.pos) > len(params) {
		it.fail("%s takes at most %d argument(s), %d given", a.name, len(params), len(a.pos))
	}
	out := make([]Value, len(params))
	for i, p := range params {
		name, optional := strings.CutSuffix(p, "?")
		v, ok := a.take(name)
		switch {
		case i < len(a.pos):
			if ok {
				it.fail("%s got two values for argument '%s'", a.name, name)
			}
			v = a.pos[i]
		case !ok && optional:
			v = Value{kind: kindMissing}
		case !ok:
			it.fail("%s misses argument '%s'", a.name, name)
		}
		out[i] = v
	}
	if len(a.names) > 0 {
		it.fail("%s takes no keyword argument '%s'", a.name, a.names[0])
	}
	return out
}

// needText returns a string argument.
func (it *interp) needText(v Value, what string) text {
	if v.kind == kindUndefined {
		it.undefined(v)
	}
	if v.kind != kindString {
		it.fail("%s must be str, not %s", what, v.typeName())
	}
	return v.text()
}

// needInt returns an int argument within int64.
func (it *interp) needInt(v Value, what string) int {
	if v.kind == kindUndefined {
		it.undefined(v)
	}
	i, ok := v.small()
	if !ok {
		it.fail("%s must be an int of ordinary size, not %s", what, v.typeName())
	}
	return int(i)
}

// orInt is needInt with a default for a missing argument.
func (it *interp) orInt(v Value, otherwise int, what string) int {
	if !v.given() {
		return otherwise
	}
	return it.needInt(v, what)
}
