package jinja

import (
	"strconv"
	"strings"
)

// lookupSeqFilter returns a filter over lists and dicts, or nil.
func lookupSeqFilter(name string) filterFunc {
	switch name {
	case "batch":
		return filterBatch
	case "dictsort":
		return filterDictsort
	case "first":
		return filterFirst
	case "last":
		return filterLast
	case "groupby":
		return filterGroupby
	case "items":
		return filterItems
	case "join":
		return filterJoin
	case "list":
		return func(it *interp, in Value, a args) Value {
			a.bind(it)
			items := it.iterate(in)
			it.grow(len(items) * valueBytes)
			return List(items)
		}
	case "map":
		return filterMap
	case "max", "min":
		return func(it *interp, in Value, a args) Value { return extreme(it, in, a, name == "max") }
	case "reverse":
		return filterReverse
	case "select", "reject", "selectattr", "rejectattr":
		attr, keep := strings.HasSuffix(name, "attr"), strings.HasPrefix(name, "select")
		return func(it *interp, in Value, a args) Value { return choose(it, in, a, attr, keep) }
	case "slice":
		return filterSlice
	case "sort":
		return filterSort
	case "sum":
		return filterSum
	case "unique":
		return filterUnique
	}
	return nil
}

func filterFirst(it *interp, in Value, a args) Value {
	a.bind(it)
	if in.kind == kindString && in.text().s != "" {
		return it.at(in, 0)
	}
	items := it.iterate(in)
	if len(items) == 0 {
		return undef("no first item, sequence was empty")
	}
	if in.kind == kindSeq && in.seq().flavor == flavorIter {
		in.seq().items = items[1:]
	}
	return items[0]
}

func filterLast(it *interp, in Value, a args) Value {
	a.bind(it)
	it.reversible(in)
	if in.kind == kindString && in.text().s != "" {
		return it.at(in, -1)
	}
	items := it.iterate(in)
	if len(items) == 0 {
		return undef("no last item, sequence was empty")
	}
	return items[len(items)-1]
}

func (it *interp) reversible(v Value) {
	if v.kind == kindSeq && v.seq().flavor == flavorIter {
		it.fail("'generator' object is not reversible")
	}
}

func filterReverse(it *interp, in Value, a args) Value {
	a.bind(it)
	items := it.iterate(in)
	it.grow(len(items) * valueBytes)
	out := make([]Value, len(items))
	for i, v := range items {
		out[len(items)-1-i] = v
	}
	if in.kind != kindString {
		return iterator(out)
	}
	var b builder
	for _, v := range out {
		b.text(v.text())
	}
	return Value{kind: kindString, num: in.num, ref: ptr(b.done())}
}

func filterItems(it *interp, in Value, a args) Value {
	a.bind(it)
	switch in.kind {
	case kindUndefined:
		return iterator(nil)
	case kindDict:
		it.grow(3 * in.dict().Len() * valueBytes)
		return iterator(pairs(in.dict()))
	}
	it.fail("can only get item pairs from a mapping, not from %s", in.typeName())
	return Value{}
}

func filterJoin(it *interp, in Value, a args) Value {
	p := a.bind(it, "d?", "attribute?")
	var sep text
	if p[0].given() {
		sep = it.str(p[0])
	}
	get := func(v Value) Value { return v }
	if p[1].given() && !p[1].IsNone() {
		get = it.getter(p[1], Value{kind: kindMissing})
	}
	var b builder
	for i, v := range it.iterate(in) {
		t := it.str(get(v))
		if i > 0 {
			it.grow(len(sep.s))
			b.text(sep)
		}
		it.grow(len(t.s))
		b.text(t)
	}
	return str(b.done())
}

// getter returns a function that follows a dotted path of attributes; a missing one yields
// otherwise if that is given.
func (it *interp) getter(attribute, otherwise Value) func(Value) Value {
	path := []Value{attribute}
	if s, ok := attribute.Text(); ok {
		path = nil
		for part := range strings.SplitSeq(s, ".") {
			if i, err := strconv.Atoi(part); err == nil && part[0] != '-' && part[0] != '+' {
				path = append(path, Int(int64(i)))
			} else {
				path = append(path, LiteralString(part))
			}
		}
	}
	return func(v Value) Value {
		for _, key := range path {
			it.step(1)
			v = it.getitem(v, key)
			if v.kind == kindUndefined && otherwise.given() && !otherwise.IsNone() {
				v = otherwise
			}
		}
		return v
	}
}

func filterMap(it *interp, in Value, a args) Value {
	if !in.truth() {
		return iterator(nil)
	}
	var f func(Value) Value
	if attribute, ok := a.take("attribute"); ok && len(a.pos) == 0 {
		otherwise, given := a.take("default")
		if !given {
			otherwise = Value{kind: kindMissing}
		}
		a.bind(it)
		f = it.getter(attribute, otherwise)
	} else {
		if len(a.pos) == 0 {
			it.fail("map requires a filter argument")
		}
		name := it.needText(a.pos[0], "filter name").s
		fn := lookupFilter(name)
		if fn == nil {
			it.fail("unsupported filter '%s'", name)
		}
		rest := args{name: name, pos: a.pos[1:], names: a.names, named: a.named}
		f = func(v Value) Value { return fn(it, v, rest) }
	}
	items := it.iterate(in)
	it.grow(len(items) * valueBytes)
	out := make([]Value, len(items))
	for i, v := range items {
		it.step(1)
		out[i] = f(v)
	}
	return iterator(out)
}

// choose is select, reject, selectattr and rejectattr.
func choose(it *interp, in Value, a args, attr, keep bool) Value {
	if !in.truth() {
		return iterator(nil)
	}
	get := func(v Value) Value { return v }
	if attr {
		if len(a.pos) == 0 {
			it.fail("%s misses the attribute name", a.name)
		}
		get = it.getter(a.pos[0], Value{kind: kindMissing})
		a.pos = a.pos[1:]
	}
	holds := Value.truth
	if len(a.pos) > 0 {
		name := it.needText(a.pos[0], "test name").s
		fn := lookupTest(name)
		if fn == nil {
			it.fail("unsupported test '%s'", name)
		}
		rest := args{name: name, pos: a.pos[1:], names: a.names, named: a.named}
		holds = func(v Value) bool { return fn(it, v, rest) }
	}
	items := it.iterate(in)
	it.grow(len(items) * valueBytes)
	var out []Value
	for _, v := range items {
		it.step(1)
		if holds(get(v)) == keep {
			out = append(out, v)
		}
	}
	return iterator(out)
}

func filterSum(it *interp, in Value, a args) Value {
	p := a.bind(it, "attribute?", "start?")
	get := func(v Value) Value { return v }
	if p[0].given() && !p[0].IsNone() {
		get = it.getter(p[0], Value{kind: kindMissing})
	}
	total := Int(0)
	if p[1].given() {
		total = p[1]
	}
	if total.kind == kindString {
		it.fail("sum() can't sum strings; use join")
	}
	for _, v := range it.iterate(in) {
		it.step(1)
		total = it.binary("+", total, get(v))
	}
	return total
}

func filterBatch(it *interp, in Value, a args) Value {
	p := a.bind(it, "linecount", "fill_with?")
	n := it.needInt(p[0], "linecount")
	if n <= 0 {
		it.fail("batch: linecount must be positive")
	}
	items := it.iterate(in)
	it.grow(2 * len(items) * valueBytes)
	var out []Value
	for from := 0; from < len(items); from += n {
		to := min(from+n, len(items))
		row := append([]Value(nil), items[from:to]...)
		if p[1].given() && !p[1].IsNone() {
			it.grow((from + n - to) * valueBytes)
			for len(row) < n {
				row = append(row, p[1])
			}
		}
		out = append(out, List(row))
	}
	return iterator(out)
}

func filterSlice(it *interp, in Value, a args) Value {
	p := a.bind(it, "slices", "fill_with?")
	n := it.needInt(p[0], "slices")
	if n <= 0 {
		it.fail("slice: slices must be positive")
	}
	items := it.iterate(in)
	it.grow((len(items) + 2*n) * valueBytes)
	var out []Value
	each, extra := len(items)/n, len(items)%n
	from := 0
	for i := range n {
		to := from + each
		if i < extra {
			to++
		}
		column := append([]Value(nil), items[from:to]...)
		if p[1].given() && !p[1].IsNone() && i >= extra {
			column = append(column, p[1])
		}
		out = append(out, List(column))
		from = to
	}
	return iterator(out)
}
