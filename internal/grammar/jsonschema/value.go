package jsonschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	for i := range v.members {
		if v.members[i].name == name {
			return v.members[i].value
		}
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
	names := map[string]bool{}
	for d.More() {
		var name string
		if v.kind == isObject {
			t, err := d.Token()
			if err != nil {
				return nil, err
			}
			name = t.(string)
			if names[name] {
				return nil, fmt.Errorf("the member %.40q is given twice", name)
			}
			names[name] = true
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
func equal(a, b *value) bool {
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case isNumber:
		x, okX := decimal(a.text)
		y, okY := decimal(b.text)
		return okX && okY && x.Cmp(y) == 0
	case isArray:
		if len(a.items) != len(b.items) {
			return false
		}
		for i := range a.items {
			if !equal(a.items[i], b.items[i]) {
				return false
			}
		}
		return true
	case isObject:
		if len(a.members) != len(b.members) {
			return false
		}
		for _, m := range a.members {
			if other := b.get(m.name); other == nil || !equal(m.value, other) {
				return false
			}
		}
		return true
	}
	return a.text == b.text
}

// quote returns s as a JSON string, with the escapes that have to be and no others.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		b.WriteString(escaped(c))
	}
	b.WriteByte('"')
	return b.String()
}

// escaped returns a character of a string as it is written in JSON.
func escaped(c rune) string {
	switch c {
	case '"':
		return `\"`
	case '\\':
		return `\\`
	case '\b':
		return `\b`
	case '\f':
		return `\f`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	if c < ' ' {
		return fmt.Sprintf(`\u%04x`, c)
	}
	return string(c)
}
