package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// reader reads strictly typed JSON token by token. Unlike json.Unmarshal it lets the caller see
// duplicate keys, and it never recurses: nesting that was not asked for is an error at its first
// bracket.
type reader struct{ dec *json.Decoder }

func newReader(r io.Reader) *reader {
	dec := json.NewDecoder(r)
	dec.UseNumber()
	return &reader{dec}
}

// token returns the next token.
func (r *reader) token() (json.Token, error) {
	t, err := r.dec.Token()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("JSON ends too early")
	}
	if err != nil {
		return nil, fmt.Errorf("JSON: %w", err)
	}
	return t, nil
}

// more tells whether the open object or array has another element.
func (r *reader) more() bool { return r.dec.More() }

// delim reads exactly this bracket.
func (r *reader) delim(want json.Delim) error {
	t, err := r.token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("is %s, want %s", tokenText(t), want)
	}
	return nil
}

// text reads a string.
func (r *reader) text() (string, error) {
	t, err := r.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("is %s, want a string", tokenText(t))
	}
	return s, nil
}

// integers reads an array of non-negative integers.
func (r *reader) integers() ([]int64, error) {
	if err := r.delim('['); err != nil {
		return nil, err
	}
	var list []int64
	for r.more() {
		t, err := r.token()
		if err != nil {
			return nil, err
		}
		n, ok := t.(json.Number)
		if !ok {
			return nil, fmt.Errorf("holds %s, want a non-negative integer", tokenText(t))
		}
		v, err := strconv.ParseUint(n.String(), 10, 63)
		if err != nil {
			return nil, fmt.Errorf("holds %s, want a non-negative integer below 2^63", tokenText(t))
		}
		list = append(list, int64(v))
	}
	return list, r.delim(']')
}

// textMap reads an object whose values are strings and whose keys differ.
func (r *reader) textMap() (map[string]string, error) {
	if err := r.delim('{'); err != nil {
		return nil, err
	}
	m := make(map[string]string)
	for r.more() {
		key, err := r.text()
		if err != nil {
			return nil, err
		}
		if _, ok := m[key]; ok {
			return nil, fmt.Errorf("%s: given twice", quote(key))
		}
		if m[key], err = r.text(); err != nil {
			return nil, fmt.Errorf("%s: %w", quote(key), err)
		}
	}
	return m, r.delim('}')
}

// skip reads one value of any type.
func (r *reader) skip() error {
	var raw json.RawMessage
	if err := r.dec.Decode(&raw); err != nil {
		return fmt.Errorf("JSON: %w", err)
	}
	return nil
}

// end checks that nothing but white space is left.
func (r *reader) end() error {
	t, err := r.dec.Token()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("JSON: %w", err)
	}
	return fmt.Errorf("%s follows the closing brace", tokenText(t))
}

// tokenText is what an error shows of a token.
func tokenText(t json.Token) string {
	switch v := t.(type) {
	case nil:
		return "null"
	case json.Delim:
		return v.String()
	case json.Number:
		return quote(v.String())
	case string:
		return quote(v)
	}
	return fmt.Sprint(t)
}
