package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Decode returns the text of ids. Ids that have no token are left out, and special tokens too
// if skipSpecial is set; other added tokens appear as written in tokenizer.json. Bytes that are
// not UTF-8 become U+FFFD.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	var raw []byte
	for _, id := range ids {
		raw = t.appendBytes(raw, id, skipSpecial)
	}
	return validUTF8(string(raw))
}

func (t *Tokenizer) appendBytes(dst []byte, id int32, skipSpecial bool) []byte {
	e := t.vocab.get(id)
	if skipSpecial && e.kind == special {
		return dst
	}
	return append(dst, e.text...)
}

// Decoder turns a stream of ids into text. It must not be used by two goroutines at once.
type Decoder struct {
	t           *Tokenizer
	skipSpecial bool
	held        []byte // bytes of a character whose end has not come yet
}

// NewDecoder returns a Decoder at the start of a text; skipSpecial is as in Decode.
func (t *Tokenizer) NewDecoder(skipSpecial bool) *Decoder {
	return &Decoder{t: t, skipSpecial: skipSpecial}
}

// Push returns the text that id completes. A character whose bytes are not all there yet is
// held back. All texts pushed and the one flushed make up what Decode returns.
func (d *Decoder) Push(id int32) string {
	d.held = d.t.appendBytes(d.held, id, d.skipSpecial)
	whole := len(d.held) - openTail(d.held)
	text := validUTF8(string(d.held[:whole]))
	d.held = append(d.held[:0], d.held[whole:]...)
	return text
}

// Flush ends the text: it returns what was held back, as U+FFFD.
func (d *Decoder) Flush() string {
	text := validUTF8(string(d.held))
	d.held = d.held[:0]
	return text
}

// validUTF8 replaces what is not UTF-8 by U+FFFD, one for each maximal part that begins like a
// character (Unicode chapter 3.9), as Rust and Python do; Go would put one for each byte.
func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 {
			size, _ = prefix(s)
		}
		b.WriteRune(r)
		s = s[size:]
	}
	return b.String()
}

// openTail returns how many bytes at the end of b may yet become a character.
func openTail(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		tail := b[len(b)-n:]
		if utf8.RuneStart(tail[0]) {
			if size, open := prefix(string(tail)); open && size == n {
				return n
			}
			return 0
		}
	}
	return 0
}

// prefix looks at s, which does not start with a character: its first size bytes are the
// longest beginning of one, at least 1. open says that s ends there, so that more could follow.
func prefix(s string) (size int, open bool) {
	var want int // length of the character that s[0] announces
	low, high := byte(0x80), byte(0xbf)
	switch c := s[0]; {
	case 0xc2 <= c && c <= 0xdf:
		want = 2
	case 0xe0 <= c && c <= 0xef:
		want = 3
	case 0xf0 <= c && c <= 0xf4:
		want = 4
	default:
		return 1, false
	}
	switch s[0] { // the second byte of these is narrower: overlong forms, surrogates, beyond 10FFFF
	case 0xe0:
		low = 0xa0
	case 0xed:
		high = 0x9f
	case 0xf0:
		low = 0x90
	case 0xf4:
		high = 0x8f
	}
	for size = 1; size < want; size++ {
		if size == len(s) {
			return size, true
		}
		if s[size] < low || s[size] > high {
			return size, false
		}
		low, high = 0x80, 0xbf
	}
	return size, false
}
