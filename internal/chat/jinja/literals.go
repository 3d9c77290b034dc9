package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// number lexes an int or a float: 12, 1_000, 0x1f, 0o7, 0b1, 1.5, 1e-3.
func (l *lexer) number(rest string) bool {
	if rest[0] < '0' || rest[0] > '9' {
		return false
	}
	if n := floatLen(rest); n > 0 && (l.pos == 0 || l.src[l.pos-1] != '.') {
		l.emit(tokFloat, strings.ReplaceAll(rest[:n], "_", ""))
		l.advance(n)
		return true
	}
	n := intLen(rest)
	l.emit(tokInt, strings.ReplaceAll(rest[:n], "_", ""))
	l.advance(n)
	return true
}

// digitsLen is the length of digits that may be separated by single underscores.
func digitsLen(s, digits string) int {
	n := 0
	for n < len(s) {
		if strings.IndexByte(digits, s[n]) >= 0 {
			n++
			continue
		}
		if s[n] != '_' || n == 0 || n+1 >= len(s) || strings.IndexByte(digits, s[n+1]) < 0 {
			break
		}
		n += 2
	}
	return n
}

const decimal = "0123456789"

func floatLen(s string) int {
	n := digitsLen(s, decimal)
	whole := n
	if n < len(s) && s[n] == '.' {
		if d := digitsLen(s[n+1:], decimal); d > 0 {
			n += 1 + d
		}
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		e := n + 1
		if e < len(s) && (s[e] == '+' || s[e] == '-') {
			e++
		}
		if d := digitsLen(s[min(e, len(s)):], decimal); d > 0 {
			return e + d
		}
	}
	if n == whole {
		return 0
	}
	return n
}

func intLen(s string) int {
	if s[0] != '0' {
		return digitsLen(s, decimal)
	}
	if len(s) > 2 {
		digits := map[byte]string{'b': "01", 'o': "01234567", 'x': "0123456789abcdefABCDEF"}[s[1]|0x20]
		from := 2
		if s[2] == '_' {
			from = 3
		}
		if digits != "" {
			if n := digitsLen(s[from:], digits); n > 0 {
				return from + n
			}
		}
	}
	return digitsLen(s, "0")
}

// quoted lexes a string literal.
func (l *lexer) quoted(rest string) bool {
	quote := rest[0]
	if quote != '\'' && quote != '"' {
		return false
	}
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case quote:
			l.emit(tokString, l.unescape(rest[1:i]))
			l.advance(i + 1)
			return true
		}
	}
	l.fail("string literal is not closed")
	return false
}

const simpleEscapes = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v"

// unescape resolves escapes as Python's unicode-escape codec does: an unknown one stays as it is.
func (l *lexer) unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		n := l.escape(&b, s)
		s = s[n:]
	}
	return b.String()
}

// escape writes what the escape s, without its backslash, stands for and returns its length.
func (l *lexer) escape(b *strings.Builder, s string) int {
	r, size := utf8.DecodeRuneInString(s)
	for i := 0; i < len(simpleEscapes); i += 2 {
		if s[0] == simpleEscapes[i] {
			b.WriteByte(simpleEscapes[i+1])
			return 1
		}
	}
	switch {
	case r == '\n':
		return 1
	case r >= '0' && r <= '7':
		n := 1
		for n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7' {
			n++
		}
		v, _ := strconv.ParseUint(s[:n], 8, 32)
		b.WriteRune(rune(v))
		return n
	case r == 'x':
		return l.hexEscape(b, s, 2)
	case r == 'u':
		return l.hexEscape(b, s, 4)
	case r == 'U':
		return l.hexEscape(b, s, 8)
	case r == 'N':
		l.fail("unsupported escape \\N{…} in string literal")
	case r < utf8.RuneSelf:
		b.WriteByte('\\')
		b.WriteRune(r)
	default: // Jinja2 hex-escapes non-ASCII first, so that the backslash escapes that escape
		b.WriteByte('\\')
		b.WriteString(hexForm(r)[1:])
	}
	return size
}

func (l *lexer) hexEscape(b *strings.Builder, s string, digits int) int {
	if len(s) <= digits {
		l.fail("truncated escape \\" + s + " in string literal")
	}
	v, err := strconv.ParseUint(s[1:1+digits], 16, 32)
	if err != nil || v > utf8.MaxRune || !utf8.ValidRune(rune(v)) {
		l.fail("invalid escape \\" + s[:1+digits] + " in string literal")
	}
	b.WriteRune(rune(v))
	return 1 + digits
}

// hexForm is Python's backslashreplace form of a character.
func hexForm(r rune) string {
	switch {
	case r < 0x100:
		return fmt.Sprintf(`\x%02x`, r)
	case r < 0x10000:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}
