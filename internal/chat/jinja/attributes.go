package jinja

import "strings"

// attribute finds a Python attribute of obj, mostly a bound method.
func (it *interp) attribute(obj Value, name string) (Value, bool) {
	switch obj.kind {
	case kindString:
		if fn := stringMethod(name); fn != nil {
			return builtin(name, func(it *interp, a args) Value { return fn(it, obj, a) }), true
		}
		it.refuse(obj, name, unsupportedStr)
	case kindDict:
		if fn := dictMethod(name); fn != nil {
			return builtin(name, func(it *interp, a args) Value { return fn(it, obj.dict(), a) }), true
		}
		if strings.Contains(mutatingDict, " "+name+" ") {
			return undef("access to attribute '" + name + "' of 'dict' object is unsafe"), true
		}
		it.refuse(obj, name, unsupportedDict)
	case kindSeq:
		return it.seqAttribute(obj, name)
	case kindNamespace:
		return obj.ref.(*namespace).attrs.Get(name)
	case kindLoop:
		return it.loopAttribute(obj.ref.(*loopState), name)
	case kindMacro:
		return macroAttribute(obj.ref.(*macro).def, name)
	case kindInt, kindBool, kindFloat:
		it.refuse(obj, name, unsupportedNumber)
	}
	return Value{}, false
}

// Attributes that exist in Python but not here: a template that reads one must not go on as if the
// attribute were undefined.
const (
	mutatingDict      = " clear pop popitem setdefault update "
	mutatingList      = " append clear extend insert pop remove reverse sort "
	unsupportedStr    = " encode expandtabs format_map isidentifier istitle maketrans translate "
	unsupportedDict   = " fromkeys "
	unsupportedSeq    = " copy start stop step mapping isdisjoint "
	unsupportedNumber = " real imag numerator denominator bit_length bit_count to_bytes from_bytes " +
		"as_integer_ratio is_integer hex fromhex conjugate "
)

func (it *interp) refuse(obj Value, name, unsupported string) {
	if strings.Contains(unsupported, " "+name+" ") {
		it.fail("unsupported attribute '%s' of a %s", name, obj.typeName())
	}
}

func (it *interp) seqAttribute(obj Value, name string) (Value, bool) {
	s := obj.seq()
	if s.flavor == flavorView || s.flavor == flavorIter {
		it.refuse(obj, name, unsupportedSeq)
		return Value{}, false
	}
	switch {
	case s.label == groupLabel && name == "grouper":
		return s.items[0], true
	case s.label == groupLabel && name == "list":
		return s.items[1], true
	}
	switch name {
	case "index":
		return builtin(name, func(it *interp, a args) Value {
			want := a.bind(it, "value")[0]
			for i, item := range s.items {
				if it.equal(item, want, 0) {
					return Int(int64(i))
				}
			}
			it.fail("value is not in the list")
			return Value{}
		}), true
	case "count":
		return builtin(name, func(it *interp, a args) Value {
			want, n := a.bind(it, "value")[0], 0
			for _, item := range s.items {
				if it.equal(item, want, 0) {
					n++
				}
			}
			return Int(int64(n))
		}), true
	}
	if s.flavor == flavorList && strings.Contains(mutatingList, " "+name+" ") {
		return undef("access to attribute '" + name + "' of 'list' object is unsafe"), true
	}
	it.refuse(obj, name, unsupportedSeq)
	return Value{}, false
}

func (it *interp) loopAttribute(l *loopState, name string) (Value, bool) {
	integer := func(i int) (Value, bool) { return Int(int64(i)), true }
	switch name {
	case "index":
		return integer(l.index0 + 1)
	case "index0":
		return integer(l.index0)
	case "first":
		return Bool(l.index0 == 0), true
	case "last":
		_, more := l.peek()
		return Bool(!more), true
	case "length":
		return integer(l.len())
	case "revindex":
		return integer(l.len() - l.index0)
	case "revindex0":
		return integer(l.len() - l.index0 - 1)
	case "depth":
		return integer(l.depth0 + 1)
	case "depth0":
		return integer(l.depth0)
	case "previtem":
		if l.index0 == 0 {
			return undef("there is no previous item"), true
		}
		return l.before, true
	case "nextitem":
		if v, ok := l.peek(); ok {
			return v, true
		}
		return undef("there is no next item"), true
	case "cycle":
		return builtin("cycle", func(it *interp, a args) Value {
			if len(a.pos) == 0 {
				it.fail("no items for cycling given")
			}
			return a.pos[l.index0%len(a.pos)]
		}), true
	case "changed":
		return builtin("changed", func(it *interp, a args) Value {
			now := tuple(a.pos...)
			if l.changed.given() && it.equal(l.changed, now, 0) {
				return Bool(false)
			}
			l.changed = now
			return Bool(true)
		}), true
	}
	return Value{}, false
}

func macroAttribute(d *macroDef, name string) (Value, bool) {
	switch name {
	case "name":
		return LiteralString(d.name), true
	case "arguments":
		var params []Value
		for _, p := range d.params {
			params = append(params, LiteralString(p))
		}
		return tuple(params...), true
	case "catch_kwargs":
		return Bool(d.usesKwargs), true
	case "catch_varargs":
		return Bool(d.usesVarargs), true
	case "caller":
		return Bool(d.usesCaller), true
	}
	return Value{}, false
}

func dictMethod(name string) func(it *interp, d *Object, a args) Value {
	view := func(label string, items func(d *Object) []Value) func(*interp, *Object, args) Value {
		return func(it *interp, d *Object, a args) Value {
			a.bind(it)
			it.grow(d.Len() * valueBytes)
			return Value{kind: kindSeq, ref: &seq{items: items(d), flavor: flavorView, label: label}}
		}
	}
	switch name {
	case "items":
		return view("dict_items", pairs)
	case "keys":
		return view("dict_keys", func(d *Object) []Value { return d.keys })
	case "values":
		return view("dict_values", func(d *Object) []Value { return d.values })
	case "get":
		return func(it *interp, d *Object, a args) Value {
			p := a.bind(it, "key", "default?")
			if v, ok := d.find(it.hash(p[0])); ok {
				return v
			}
			if p[1].given() {
				return p[1]
			}
			return Value{}
		}
	case "copy":
		return func(it *interp, d *Object, a args) Value {
			a.bind(it)
			it.grow(2 * d.Len() * valueBytes)
			return Dict(d.clone())
		}
	}
	return nil
}

func pairs(d *Object) []Value {
	out := make([]Value, d.Len())
	for i := range out {
		out[i] = tuple(d.At(i))
	}
	return out
}
