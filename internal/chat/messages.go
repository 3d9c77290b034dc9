package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/conclave-serve/conclave/internal/chat/jinja"
)

const (
	// maxDepth bounds the nesting of request JSON. Tool schemas nest about ten deep; 200 leaves room
	// without letting a request grow the stack.
	maxDepth = 200
	// maxDigits bounds one number; Python refuses longer ints as well.
	maxDigits = 4300
)

// ParseValue converts JSON to a Value whose strings are all marked as input. Objects keep the order
// of their keys (a repeated key keeps its first place and takes its last value), integers and
// floats stay distinct as in Python's json.loads.
func ParseValue(raw json.RawMessage) (Value, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := decode(d, 0)
	if err != nil {
		return Value{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return Value{}, fmt.Errorf("unexpected data after the JSON value")
	}
	return v, nil
}

func decode(d *json.Decoder, depth int) (Value, error) {
	t, err := d.Token()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Value{}, err
	}
	switch t := t.(type) {
	case json.Delim:
		if depth >= maxDepth {
			return Value{}, fmt.Errorf("JSON is nested deeper than %d levels", maxDepth)
		}
		if t == '[' {
			return decodeList(d, depth)
		}
		return decodeObject(d, depth)
	case string:
		return jinja.InputString(t), nil
	case json.Number:
		return number(t.String())
	case bool:
		return jinja.Bool(t), nil
	}
	return Value{}, nil
}

func decodeList(d *json.Decoder, depth int) (Value, error) {
	var items []Value
	for d.More() {
		v, err := decode(d, depth+1)
		if err != nil {
			return Value{}, err
		}
		items = append(items, v)
	}
	_, err := d.Token()
	return jinja.List(items), err
}

func decodeObject(d *json.Decoder, depth int) (Value, error) {
	o := jinja.NewObject()
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return Value{}, err
		}
		v, err := decode(d, depth+1)
		if err != nil {
			return Value{}, err
		}
		name, _ := key.(string)
		o.Set(jinja.InputString(name), v)
	}
	_, err := d.Token()
	return jinja.Dict(o), err
}

// number converts a JSON number as Python does: an int unless it has a fraction or an exponent.
func number(s string) (Value, error) {
	if len(s) > maxDigits {
		return Value{}, fmt.Errorf("number of %d digits, at most %d are allowed", len(s), maxDigits)
	}
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && !math.IsInf(f, 0) {
			return Value{}, fmt.Errorf("number %s: %w", s, err)
		}
		return jinja.Float(f), nil
	}
	i, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return Value{}, fmt.Errorf("invalid number %s", s)
	}
	return jinja.BigInt(i), nil
}

// ParseMessages converts the "messages" of an OpenAI request. A content that is a list of text
// parts becomes one string, joined by line feeds, since published templates expect a string; other
// kinds of parts are refused. The well-known roles are literal text, everything else is input.
func ParseMessages(raw json.RawMessage) ([]Value, error) {
	v, err := ParseValue(raw)
	if err != nil {
		return nil, fmt.Errorf("messages: %w", err)
	}
	items, ok := v.Items()
	if !ok {
		return nil, fmt.Errorf("messages must be a list")
	}
	messages := make([]Value, len(items))
	for i, item := range items {
		if messages[i], err = message(item); err != nil {
			return nil, fmt.Errorf("messages[%d]%w", i, err)
		}
	}
	return messages, nil
}

// message checks one message; errors start with the path inside it.
func message(v Value) (Value, error) {
	in, ok := v.Object()
	if !ok {
		return Value{}, fmt.Errorf(" must be an object")
	}
	role, given := in.Get("role")
	if _, isText := role.Text(); !given || !isText {
		return Value{}, fmt.Errorf(".role must be a string")
	}
	out := jinja.NewObject()
	for i := range in.Len() {
		key, value := in.At(i)
		switch name, _ := key.Text(); name {
		case "role":
			value = knownRole(value)
		case "content":
			var err error
			if value, err = content(value); err != nil {
				return Value{}, fmt.Errorf(".content%w", err)
			}
		}
		out.Set(key, value)
	}
	return jinja.Dict(out), nil
}

func knownRole(role Value) Value {
	switch name, _ := role.Text(); name {
	case "system", "user", "assistant", "tool", "developer":
		return jinja.LiteralString(name)
	}
	return role
}

// content returns a string or None as it is and joins a list of text parts.
func content(v Value) (Value, error) {
	if _, ok := v.Text(); ok || v.IsNone() {
		return v, nil
	}
	parts, ok := v.Items()
	if !ok {
		return Value{}, fmt.Errorf(" must be a string, a list of parts or null")
	}
	texts := make([]string, len(parts))
	for i, p := range parts {
		o, ok := p.Object()
		if !ok {
			return Value{}, fmt.Errorf("[%d] must be an object", i)
		}
		kind, _ := o.Get("type")
		if name, _ := kind.Text(); name != "text" {
			return Value{}, fmt.Errorf("[%d].type %q is not supported, only \"text\"", i, name)
		}
		t, _ := o.Get("text")
		if texts[i], ok = t.Text(); !ok {
			return Value{}, fmt.Errorf("[%d].text must be a string", i)
		}
	}
	return jinja.InputString(strings.Join(texts, "\n")), nil
}
