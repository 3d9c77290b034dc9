package jinja

import (
	"fmt"
	"math"
)

// Object is a dict: keys in the order of their first insertion.
type Object struct {
	keys   []Value
	values []Value
	index  map[hashKey]int // nil while the dict is small
}

// smallObject is the size up to which a linear search beats a map; messages have 2 to 4 keys.
const smallObject = 8

// maxTupleKey bounds the hash of a tuple in bytes: nested tuples can double at every level.
const maxTupleKey = 1 << 16

// hashKey is equal for keys that Python holds equal (1, 1.0 and True are one key).
type hashKey struct {
	kind kind
	num  uint64
	s    string
}

// NewObject returns an empty dict.
func NewObject() *Object { return &Object{} }

// Len is the number of keys.
func (o *Object) Len() int { return len(o.keys) }

// At returns entry i in insertion order.
func (o *Object) At(i int) (key, value Value) { return o.keys[i], o.values[i] }

// Set stores value under key, normally a string; a known key keeps its place and its marks.
// A key that Python cannot hash panics.
func (o *Object) Set(key, value Value) {
	h, ok := hash(key, 0)
	if !ok {
		panic("jinja: unhashable dict key of type " + key.typeName())
	}
	o.put(h, key, value)
}

// Get returns the value under the string key.
func (o *Object) Get(key string) (Value, bool) { return o.find(hashKey{kind: kindString, s: key}) }

func (o *Object) put(h hashKey, key, value Value) {
	if i, ok := o.search(h); ok {
		o.values[i] = value
		return
	}
	o.keys = append(o.keys, key)
	o.values = append(o.values, value)
	switch {
	case o.index != nil:
		o.index[h] = len(o.keys) - 1
	case len(o.keys) > smallObject:
		o.index = make(map[hashKey]int, 2*len(o.keys))
		for i, k := range o.keys {
			kh, _ := hash(k, 0)
			o.index[kh] = i
		}
	}
}

func (o *Object) find(h hashKey) (Value, bool) {
	if i, ok := o.search(h); ok {
		return o.values[i], true
	}
	return Value{}, false
}

func (o *Object) search(h hashKey) (int, bool) {
	if o.index != nil {
		i, ok := o.index[h]
		return i, ok
	}
	for i, k := range o.keys {
		if h.kind == kindString && k.kind == kindString {
			if k.ref.(*text).s == h.s {
				return i, true
			}
			continue
		}
		if kh, _ := hash(k, 0); kh == h {
			return i, true
		}
	}
	return 0, false
}

func (o *Object) clone() *Object {
	c := NewObject()
	for i, k := range o.keys {
		c.Set(k, o.values[i])
	}
	return c
}

// hash returns the key of v; ok is false if v is not hashable in Python.
func hash(v Value, depth int) (h hashKey, ok bool) {
	switch v.kind {
	case kindNone:
		return hashKey{}, true
	case kindUndefined:
		return hashKey{kind: kindUndefined}, true
	case kindString:
		return hashKey{kind: kindString, s: v.ref.(*text).s}, true
	case kindBool, kindInt:
		if v.ref != nil {
			return hashKey{kind: kindInt, s: v.big().String()}, true
		}
		return hashKey{kind: kindInt, num: v.num}, true
	case kindFloat:
		f := v.float()
		if f == math.Trunc(f) && math.Abs(f) < 1<<63 {
			return hashKey{kind: kindInt, num: uint64(int64(f))}, true
		}
		return hashKey{kind: kindFloat, num: v.num}, true
	case kindSeq:
		if v.seq().flavor != flavorTuple || depth > maxValueDepth {
			return hashKey{}, false
		}
		s := ""
		for _, item := range v.seq().items {
			ih, ok := hash(item, depth+1)
			if !ok {
				return hashKey{}, false
			}
			s += fmt.Sprintf("%d:%d:%d:%s", ih.kind, ih.num, len(ih.s), ih.s)
			if len(s) > maxTupleKey {
				return hashKey{}, false
			}
		}
		return hashKey{kind: kindSeq, s: s}, true
	}
	return hashKey{}, false
}
