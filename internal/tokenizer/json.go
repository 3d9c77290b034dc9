package tokenizer

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of values that are skipped or set aside. Real files reach 8.
const maxDepth = 64

var errEnd = errors.New("unexpected end of file")

// reader walks JSON text without building a tree: vocabularies hold some 10^5 entries, for
// which encoding/json is an order of magnitude too slow. The small sections of the file are
// cut out by raw and left to encoding/json.
type reader struct {
	data []byte
	pos  int
}

func (r *reader) errorf(format string, args ...any) error {
	return fmt.Errorf("offset %d: %s", r.pos, fmt.Sprintf(format, args...))
}

// peek skips white space and returns the next byte, or 0 at the end.
func (r *reader) peek() byte {
	for r.pos < len(r.data) {
		switch c := r.data[r.pos]; c {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return c
		}
	}
	return 0
}

func (r *reader) expect(want byte) error {
	got := r.peek()
	if r.pos >= len(r.data) {
		return errEnd
	}
	if got != want {
		return r.errorf("found %q, want %q", got, want)
	}
	r.pos++
	return nil
}

// end reports an error if anything but white space is left.
func (r *reader) end() error {
	if r.peek(); r.pos < len(r.data) {
		return r.errorf("text after the end of the value")
	}
	return nil
}

// object calls field for every key; field must consume the value. The key is valid only
// until field reads on.
func (r *reader) object(field func(key []byte) error) error {
	var key []byte
	return r.list('{', '}', func(int) error {
		var err error
		if key, err = r.text(key[:0]); err != nil {
			return err
		}
		if err = r.expect(':'); err != nil {
			return err
		}
		return field(key)
	})
}

// array calls item for every element; item must consume it.
func (r *reader) array(item func(i int) error) error {
	return r.list('[', ']', item)
}

func (r *reader) list(first, last byte, item func(i int) error) error {
	if err := r.expect(first); err != nil {
		return err
	}
	if r.peek() == last {
		r.pos++
		return nil
	}
	for i := 0; ; i++ {
		if err := item(i); err != nil {
			return err
		}
		if r.peek() == ',' {
			r.pos++
			continue
		}
		return r.expect(last)
	}
}

// text appends the string that comes next, unescaped, to dst.
func (r *reader) text(dst []byte) ([]byte, error) {
	if err := r.expect('"'); err != nil {
		return dst, err
	}
	for {
		rest := r.data[r.pos:]
		n := 0
		for n < len(rest) && rest[n] != '"' && rest[n] != '\\' && rest[n] >= 0x20 {
			n++
		}
		dst = append(dst, rest[:n]...)
		r.pos += n
		if n == len(rest) {
			return dst, errEnd
		}
		switch rest[n] {
		case '"':
			r.pos++
			return dst, nil
		case '\\':
			var err error
			if dst, err = r.escape(dst); err != nil {
				return dst, err
			}
		default:
			return dst, r.errorf("control character %#02x in a string", rest[n])
		}
	}
}

// escape appends the character of the backslash sequence that comes next.
func (r *reader) escape(dst []byte) ([]byte, error) {
	if r.pos+1 >= len(r.data) {
		return dst, errEnd
	}
	c := r.data[r.pos+1]
	if i := bytes.IndexByte([]byte(`"\/bfnrt`), c); i >= 0 {
		r.pos += 2
		return append(dst, "\"\\/\b\f\n\r\t"[i]), nil
	}
	if c != 'u' {
		return dst, r.errorf("unknown escape \\%c", c)
	}
	u, err := r.hex4()
	if err != nil {
		return dst, err
	}
	if utf16.IsSurrogate(u) {
		low, err := r.hex4()
		if err != nil {
			return dst, err
		}
		if u = utf16.DecodeRune(u, low); u == utf8.RuneError {
			return dst, r.errorf("lone surrogate in a string")
		}
	}
	return utf8.AppendRune(dst, u), nil
}

// hex4 reads one \uXXXX sequence.
func (r *reader) hex4() (rune, error) {
	if r.pos+6 > len(r.data) {
		return 0, errEnd
	}
	seq := r.data[r.pos : r.pos+6]
	if seq[0] != '\\' || seq[1] != 'u' {
		return 0, r.errorf("lone surrogate in a string")
	}
	var u rune
	for _, c := range seq[2:] {
		switch {
		case '0' <= c && c <= '9':
			u = u<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			u = u<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, r.errorf("malformed \\u escape")
		}
	}
	r.pos += 6
	return u, nil
}

// id reads a token id: an integer in [0, maxID].
func (r *reader) id() (int32, error) {
	r.peek()
	start, n := r.pos, 0
	for ; r.pos < len(r.data) && '0' <= r.data[r.pos] && r.data[r.pos] <= '9'; r.pos++ {
		if n = n*10 + int(r.data[r.pos]-'0'); n > maxID {
			return 0, r.errorf("id larger than %d", maxID)
		}
	}
	if r.pos == start || r.pos < len(r.data) && bytes.IndexByte([]byte(".eE"), r.data[r.pos]) >= 0 {
		return 0, r.errorf("id is not a non-negative integer")
	}
	return int32(n), nil
}

// raw returns the text of the value that comes next. It checks only what it needs to find
// the value's end; whoever reads the text checks the rest.
func (r *reader) raw() ([]byte, error) {
	r.peek()
	start, depth := r.pos, 0
	var scratch []byte
	for {
		switch c := r.peek(); c {
		case 0:
			return nil, errEnd
		case '"':
			var err error
			if scratch, err = r.text(scratch[:0]); err != nil {
				return nil, err
			}
		case '{', '[':
			if depth++; depth > maxDepth {
				return nil, r.errorf("nested deeper than %d", maxDepth)
			}
			r.pos++
		case '}', ']':
			if depth--; depth < 0 {
				return nil, r.errorf("found %q, want a value", c)
			}
			r.pos++
		case ',', ':':
			if depth == 0 {
				return nil, r.errorf("found %q, want a value", c)
			}
			r.pos++
		default:
			r.scalar()
		}
		if depth == 0 {
			return r.data[start:r.pos], nil
		}
	}
}

// scalar moves past a number or a literal such as true.
func (r *reader) scalar() {
	for r.pos++; r.pos < len(r.data); r.pos++ {
		if bytes.IndexByte([]byte(" \t\r\n,:]}[{\""), r.data[r.pos]) >= 0 {
			return
		}
	}
}
