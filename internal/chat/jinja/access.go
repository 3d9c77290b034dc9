package jinja

import (
	"slices"
	"unicode/utf8"
)

// getattr is obj.name: a method or attribute first, then an item, else undefined.
func (it *interp) getattr(obj Value, name string) Value {
	if obj.kind == kindUndefined {
		it.undefined(obj)
	}
	if v, ok := it.attribute(obj, name); ok {
		return v
	}
	if obj.kind == kindDict {
		if v, ok := obj.dict().Get(name); ok {
			return v
		}
	}
	return missingAttr(obj, name)
}

func missingAttr(obj Value, name string) Value {
	return undef("'" + obj.typeName() + " object' has no attribute '" + name + "'")
}

// getitem is obj[index]: an item first, then an attribute, else undefined.
func (it *interp) getitem(obj, index Value) Value {
	switch obj.kind {
	case kindUndefined:
		it.undefined(obj)
	case kindDict:
		if h, ok := hash(index, 0); ok {
			if v, ok := obj.dict().find(h); ok {
				return v
			}
		}
	case kindSeq, kindString:
		if i, ok := index.small(); ok && indexable(obj) {
			return it.at(obj, int(i))
		}
	}
	if name, ok := index.Text(); ok {
		if v, ok := it.attribute(obj, name); ok {
			return v
		}
		return missingAttr(obj, name)
	}
	return undef("'" + obj.typeName() + " object' has no such element")
}

func indexable(v Value) bool {
	if v.kind == kindSeq {
		f := v.seq().flavor
		return f != flavorView && f != flavorIter
	}
	return v.kind == kindString
}

func (it *interp) at(obj Value, i int) Value {
	n := it.length(obj)
	if i < 0 {
		i += n
	}
	if i < 0 || i >= n {
		return undef("'" + obj.typeName() + " object' has no such element")
	}
	if obj.kind == kindSeq {
		return obj.seq().items[i]
	}
	t := obj.text()
	from := runeOffset(t.s, i)
	_, size := utf8.DecodeRuneInString(t.s[from:])
	return str(t.slice(from, from+size))
}

// runeOffset is the byte offset of character i, or len(s).
func runeOffset(s string, i int) int {
	if i <= 0 {
		return 0
	}
	for at := range s {
		if i == 0 {
			return at
		}
		i--
	}
	return len(s)
}

// length is Python's len(v).
func (it *interp) length(v Value) int {
	switch v.kind {
	case kindUndefined:
		return 0
	case kindString:
		t := v.text()
		it.step(len(t.s) >> 7)
		return utf8.RuneCountInString(t.s)
	case kindDict:
		return v.dict().Len()
	case kindSeq:
		if v.seq().flavor != flavorIter {
			return len(v.seq().items)
		}
	case kindLoop:
		return v.ref.(*loopState).len()
	}
	it.fail("object of type '%s' has no len()", v.typeName())
	return 0
}

// iterate returns the items that a loop over v visits.
func (it *interp) iterate(v Value) []Value {
	switch v.kind {
	case kindUndefined:
		return nil
	case kindSeq:
		s := v.seq()
		items := s.items
		if s.flavor == flavorIter {
			s.items = nil
		}
		return items
	case kindDict:
		return v.dict().keys
	case kindString:
		t := v.text()
		it.grow(2 * valueBytes * len(t.s))
		items := make([]Value, 0, len(t.s))
		for i, r := range t.s {
			items = append(items, str(t.slice(i, i+utf8.RuneLen(r))))
		}
		return items
	}
	it.fail("'%s' object is not iterable", v.typeName())
	return nil
}

// slice is obj[from:to:step].
func (it *interp) slice(x *sliceExpr) Value {
	obj := it.eval(x.obj)
	if obj.kind == kindUndefined {
		it.undefined(obj)
	}
	if !indexable(obj) {
		it.fail("'%s' object cannot be sliced", obj.typeName())
	}
	n := it.length(obj)
	step, given := it.bound(x.step)
	if !given {
		step = 1
	}
	if step == 0 {
		it.fail("slice step cannot be zero")
	}
	from, to := 0, n
	if step < 0 {
		from, to = n-1, -1
	}
	if i, given := it.bound(x.from); given {
		from = clampBound(i, n, step)
	}
	if i, given := it.bound(x.to); given {
		to = clampBound(i, n, step)
	}
	if obj.kind == kindString {
		return it.sliceText(obj.text(), from, to, step, n)
	}
	s := obj.seq()
	var items []Value
	if step == 1 {
		items = slices.Clip(s.items[from:max(from, to)])
	} else {
		it.grow(n * valueBytes)
		for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
			items = append(items, s.items[i])
		}
	}
	if s.flavor == flavorRange {
		it.fail("unsupported: slice of a range")
	}
	return Value{kind: kindSeq, ref: &seq{items: items, flavor: s.flavor}}
}

// bound evaluates a part of a slice, which may be absent or none.
func (it *interp) bound(x expr) (i int, given bool) {
	if x == nil {
		return 0, false
	}
	v := it.eval(x)
	if v.IsNone() {
		return 0, false
	}
	const far = 1 << 40 // beyond any length, and safe to add to
	return min(max(it.needInt(v, "slice index"), -far), far), true
}

// clampBound resolves a negative bound and clamps it as slice.indices does.
func clampBound(i, n, step int) int {
	if i < 0 {
		if i += n; i < 0 && step > 0 {
			i = 0
		}
	}
	if step < 0 {
		return min(max(i, -1), n-1)
	}
	return min(i, n)
}

func (it *interp) sliceText(t text, from, to, step, n int) Value {
	if step == 1 {
		if from >= to {
			return str(text{})
		}
		if n == len(t.s) {
			return str(t.slice(from, to))
		}
		a := runeOffset(t.s, from)
		return str(t.slice(a, a+runeOffset(t.s[a:], to-from)))
	}
	chars := it.iterate(str(t))
	var b builder
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		b.text(chars[i].text())
	}
	return str(b.done())
}
