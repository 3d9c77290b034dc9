package jinja

import (
	"sort"
	"strings"
)

// sortKey prepares a value for comparison: strings in lower case unless case matters.
func sortKey(v Value, caseSensitive bool) Value {
	if s, ok := v.Text(); ok && !caseSensitive {
		return LiteralString(lower(s))
	}
	return v
}

// keyOf returns the sort key function for a comma-separated list of attributes.
func (it *interp) keyOf(attribute Value, caseSensitive bool) func(Value) Value {
	if !attribute.given() || attribute.IsNone() {
		return func(v Value) Value { return sortKey(v, caseSensitive) }
	}
	attributes := []Value{attribute}
	if s, ok := attribute.Text(); ok {
		attributes = nil
		for part := range strings.SplitSeq(s, ",") {
			attributes = append(attributes, LiteralString(part))
		}
	}
	var gets []func(Value) Value
	for _, part := range attributes {
		gets = append(gets, it.getter(part, Value{kind: kindMissing}))
	}
	return func(v Value) Value {
		keys := make([]Value, len(gets))
		for i, get := range gets {
			keys[i] = sortKey(get(v), caseSensitive)
		}
		return List(keys)
	}
}

// sorted returns items in the stable order of their keys.
func (it *interp) sorted(items []Value, key func(Value) Value, reverse bool) []Value {
	it.grow(3 * len(items) * valueBytes)
	keys := make([]Value, len(items))
	order := make([]int, len(items))
	for i, v := range items {
		it.step(1)
		keys[i], order[i] = key(v), i
	}
	sort.SliceStable(order, func(i, j int) bool {
		a, b := keys[order[i]], keys[order[j]]
		if reverse {
			a, b = b, a
		}
		return it.order(a, b, "<", 0) < 0
	})
	out := make([]Value, len(items))
	for i, at := range order {
		out[i] = items[at]
	}
	return out
}

func filterSort(it *interp, in Value, a args) Value {
	p := a.bind(it, "reverse?", "case_sensitive?", "attribute?")
	key := it.keyOf(p[2], p[1].given() && p[1].truth())
	return List(it.sorted(it.iterate(in), key, p[0].given() && p[0].truth()))
}

// groupLabel marks the tuples of groupby, which have the attributes grouper and list.
const groupLabel = "group"

func filterGroupby(it *interp, in Value, a args) Value {
	p := a.bind(it, "attribute", "default?", "case_sensitive?")
	caseSensitive := p[2].given() && p[2].truth()
	get := it.getter(p[0], p[1])
	key := func(v Value) Value { return sortKey(get(v), caseSensitive) }
	items := it.sorted(it.iterate(in), key, false)
	it.grow(len(items) * 5 * valueBytes)
	var out []Value
	for from := 0; from < len(items); {
		to := from + 1
		for to < len(items) && it.equal(key(items[from]), key(items[to]), 0) {
			to++
		}
		pair := []Value{get(items[from]), List(items[from:to:to])}
		group := &seq{items: pair, flavor: flavorTuple, label: groupLabel}
		out = append(out, Value{kind: kindSeq, ref: group})
		from = to
	}
	return List(out)
}

func filterDictsort(it *interp, in Value, a args) Value {
	p := a.bind(it, "case_sensitive?", "by?", "reverse?")
	it.defined(in)
	if in.kind != kindDict {
		it.fail("dictsort needs a mapping, not %s", in.typeName())
	}
	at := 0
	if p[1].given() {
		switch by := it.needText(p[1], "by").s; by {
		case "key":
		case "value":
			at = 1
		default:
			it.fail("dictsort: by must be 'key' or 'value'")
		}
	}
	caseSensitive := p[0].given() && p[0].truth()
	it.grow(3 * in.dict().Len() * valueBytes)
	return List(it.sorted(pairs(in.dict()), func(v Value) Value {
		return sortKey(v.seq().items[at], caseSensitive)
	}, p[2].given() && p[2].truth()))
}

func filterUnique(it *interp, in Value, a args) Value {
	p := a.bind(it, "case_sensitive?", "attribute?")
	get := func(v Value) Value { return v }
	if p[1].given() && !p[1].IsNone() {
		get = it.getter(p[1], Value{kind: kindMissing})
	}
	caseSensitive := p[0].given() && p[0].truth()
	seen := map[hashKey]bool{}
	var out []Value
	items := it.iterate(in)
	it.grow(2 * len(items) * valueBytes)
	for _, v := range items {
		it.step(1)
		h := it.hash(sortKey(get(v), caseSensitive))
		if !seen[h] {
			seen[h] = true
			out = append(out, v)
		}
	}
	return iterator(out)
}

func extreme(it *interp, in Value, a args, largest bool) Value {
	p := a.bind(it, "case_sensitive?", "attribute?")
	caseSensitive := p[0].given() && p[0].truth()
	get := func(v Value) Value { return v }
	if p[1].given() && !p[1].IsNone() {
		get = it.getter(p[1], Value{kind: kindMissing})
	}
	items := it.iterate(in)
	if len(items) == 0 {
		return undef("no aggregated item, sequence was empty")
	}
	best, bestKey := items[0], sortKey(get(items[0]), caseSensitive)
	for _, v := range items[1:] {
		key := sortKey(get(v), caseSensitive)
		if c := it.order(key, bestKey, "<", 0); c < 0 && !largest || c > 0 && largest {
			best, bestKey = v, key
		}
	}
	return best
}
