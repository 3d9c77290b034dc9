package jsonschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a schema's text.
const (
	maxSchemaBytes = 1 << 20
	maxDepth       = 64
)

type kind uint8

const (
	isNull kind = iota
	isBool
	isNumber
	isString
	isArray
	isObject
)

// value is a JSON value whose object members have kept their order. Schemas are values, and so are
// their constants.
type value struct {
	kind    kind
	text    string // of a string; a number as it is written; "true" or "false"
	items   []*value
	members []member
	index   map[string]int // of members, by name
}

type member struct {
	name  string
	value *value
}

// get returns the member of an object, or nil.
func (v *value) get(name string) *value {
	if v == nil || v.kind != isObject {
		return nil
	}
	if i, ok := v.index[name]; ok {
		return v.members[i].value
	}
	return nil
}

// parse reads a value.
func parse(raw []byte) (*value, error) {
	if len(raw) > maxSchemaBytes {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", len(raw), maxSchemaBytes)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := read(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

func read(d *json.Decoder, depth int) (*value, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	t, err := d.Token()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case nil:
		return &value{kind: isNull}, nil
	case bool:
		return &value{kind: isBool, text: fmt.Sprint(t)}, nil
	case json.Number:
		return &value{kind: isNumber, text: t.String()}, nil
	case string:
		return &value{kind: isString, text: t}, nil
	}
	v := &value{kind: isArray}
	if t == json.Delim('{') {
		v.kind = isObject
	}
	if v.kind == isObject {
		v.index = map[string]int{}
	}
	for d.More() {
		var name string
		if v.kind == isObject {
			t, err := d.Token()
			if err != nil {
				return nil, err
			}
			name = t.(string)
			if _, twice := v.index[name]; twice {
				return nil, fmt.Errorf("the member %.40q is given twice", name)
			}
			v.index[name] = len(v.members)
		}
		x, err := read(d, depth+1)
		if err != nil {
			return nil, err
		}
		if v.kind == isObject {
			v.members = append(v.members, member{name, x})
		} else {
			v.items = append(v.items, x)
		}
	}
	_, err = d.Token()
	return v, err
}

// equal reports whether two values are the same: numbers by what they are, objects in any order.
func equal(a, b *value) bool { return identity(a) == identity(b) }

// identity returns a text that equal values have in common, and no others.
func identity(v *value) string {
	var b strings.Builder
	v.identify(&b)
	return b.String()
}

func (v *value) identify(b *strings.Builder) {
	switch v.kind {
	case isNumber:
		if x, ok := decimal(v.text); ok {
			b.WriteString(x.RatString())
		} else {
			b.WriteString(v.text)
		}
	case isString:
		b.WriteString(strconv.Quote(v.text))
	case isArray:
		b.WriteByte('[')
		for _, item := range v.items {
			item.identify(b)
			b.WriteByte(',')
		}
		b.WriteByte(']')
	case isObject:
		b.WriteByte('{')
		for _, name := range slices.Sorted(maps.Keys(v.index)) {
			b.WriteString(strconv.Quote(name))
			v.get(name).identify(b)
			b.WriteByte(',')
		}
		b.WriteByte('}')
	default:
		b.WriteString(v.text)
		b.WriteByte('n')
	}
}
