package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokData
	tokOutputBegin
	tokOutputEnd
	tokBlockBegin
	tokBlockEnd
	tokName
	tokString
	tokInt
	tokFloat
	tokOperator
)

type token struct {
	kind tokenKind
	text string // operators as written, strings unescaped, numbers without underscores
	line int
}

func (t token) is(kind tokenKind, text string) bool { return t.kind == kind && t.text == text }

func (t token) describe() string {
	switch t.kind {
	case tokEOF:
		return "end of template"
	case tokData:
		return "template data"
	case tokOutputBegin:
		return "'{{'"
	case tokOutputEnd:
		return "'}}'"
	case tokBlockBegin:
		return "'{%'"
	case tokBlockEnd:
		return "'%}'"
	}
	return "'" + t.text + "'"
}

// lexer cuts a template into tokens as Jinja2's lexer does (jinja2/lexer.py) with trim_blocks and
// lstrip_blocks on and keep_trailing_newline off.
type lexer struct {
	name   string
	src    string
	pos    int
	line   int
	tokens []token
	// lineStart: the last match ended a line, so that white space before the next tag may go
	lineStart bool
}

func lex(src, name string) []token {
	src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	l := &lexer{name: name, src: strings.TrimSuffix(src, "\n"), line: 1, lineStart: true}
	if !utf8.ValidString(src) {
		l.fail("template is not valid UTF-8")
	}
	for l.pos < len(l.src) {
		l.root()
	}
	return append(l.tokens, token{kind: tokEOF, line: l.line})
}

func (l *lexer) fail(message string) {
	panic(fault{&Error{Template: l.name, Line: l.line, Message: message}})
}

func (l *lexer) emit(kind tokenKind, text string) {
	l.tokens = append(l.tokens, token{kind: kind, text: text, line: l.line})
}

// advance moves past n bytes and counts lines.
func (l *lexer) advance(n int) {
	l.line += strings.Count(l.src[l.pos:l.pos+n], "\n")
	l.pos += n
}

// root lexes the text up to the next tag, and that tag.
func (l *lexer) root() {
	rest := l.src[l.pos:]
	at := nextTag(rest)
	if at < 0 {
		l.emit(tokData, rest)
		l.advance(len(rest))
		return
	}
	tag, sign := rest[at:at+2], signAt(rest, at+2)
	l.data(rest[:at], sign, tag != "{{")
	l.advance(at)
	switch tag {
	case "{#":
		l.advance(2 + len(sign))
		l.comment()
	case "{%":
		if n := rawBegin(rest[at:]); n > 0 {
			l.raw(n)
			return
		}
		l.emit(tokBlockBegin, tag)
		l.advance(2 + len(sign))
		l.expression(tokBlockEnd)
	default:
		l.emit(tokOutputBegin, tag)
		l.advance(2 + len(sign))
		l.expression(tokOutputEnd)
	}
}

func nextTag(s string) int {
	for i := 0; ; {
		j := strings.IndexByte(s[i:], '{')
		if j < 0 || i+j+1 >= len(s) {
			return -1
		}
		i += j + 1
		if c := s[i]; c == '%' || c == '{' || c == '#' {
			return i - 1
		}
	}
}

func signAt(s string, at int) string {
	if at < len(s) && (s[at] == '-' || s[at] == '+') {
		return s[at : at+1]
	}
	return ""
}

// data emits text before a tag, without the white space that the tag takes away.
func (l *lexer) data(s, sign string, block bool) {
	switch {
	case sign == "-":
		s = strings.TrimRightFunc(s, isSpace)
	case sign == "" && block:
		from := strings.LastIndexByte(s, '\n') + 1
		if (from > 0 || l.lineStart) && strings.TrimLeftFunc(s[from:], isSpace) == "" {
			s = s[:from]
		}
	}
	if s != "" {
		l.emit(tokData, s)
	}
}

// isSpace is Python's str.isspace.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func spaceLen(s string) int { return len(s) - len(strings.TrimLeftFunc(s, isSpace)) }

// tagEnd returns the length of a closing tag at the start of s, with the white space it takes
// (all after "-", one newline for a block), or 0.
func tagEnd(s, closing string, block bool) int {
	switch {
	case strings.HasPrefix(s, "-"+closing):
		return 3 + spaceLen(s[3:])
	case block && strings.HasPrefix(s, "+"+closing):
		return 3
	case !strings.HasPrefix(s, closing):
		return 0
	case block && strings.HasPrefix(s[2:], "\n"):
		return 3
	}
	return 2
}

// close moves past a closing tag of n bytes.
func (l *lexer) close(n int) {
	l.lineStart = l.src[l.pos+n-1] == '\n'
	l.advance(n)
}

func (l *lexer) comment() {
	for i := l.pos; i < len(l.src); i++ {
		if n := tagEnd(l.src[i:], "#}", true); n > 0 {
			l.advance(i - l.pos)
			l.close(n)
			return
		}
	}
	l.fail("missing end of comment")
}

// rawBegin returns the length of a "{% raw %}" tag at the start of s, or 0.
func rawBegin(s string) int {
	n, ok := wordTag(s, "raw")
	switch {
	case !ok:
		return 0
	case strings.HasPrefix(s[n:], "-%}"):
		return n + 3 + spaceLen(s[n+3:])
	case strings.HasPrefix(s[n:], "%}"):
		return n + 2
	}
	return 0
}

// wordTag matches "{%", a sign, word and white space at the start of s and returns their length.
func wordTag(s, word string) (int, bool) {
	if !strings.HasPrefix(s, "{%") {
		return 0, false
	}
	n := 2 + len(signAt(s, 2))
	n += spaceLen(s[n:])
	if !strings.HasPrefix(s[n:], word) {
		return 0, false
	}
	n += len(word)
	return n + spaceLen(s[n:]), true
}

func (l *lexer) raw(n int) {
	l.close(n)
	rest := l.src[l.pos:]
	for i := range rest {
		m, ok := wordTag(rest[i:], "endraw")
		if !ok {
			continue
		}
		end := tagEnd(rest[i+m:], "%}", true)
		if end == 0 {
			continue
		}
		l.data(rest[:i], signAt(rest, i+2), true)
		l.advance(i)
		l.close(m + end)
		return
	}
	l.fail("missing end of raw block")
}

// expression lexes the inside of a tag up to its end, which counts only outside brackets.
func (l *lexer) expression(end tokenKind) {
	closing := map[tokenKind]string{tokBlockEnd: "%}", tokOutputEnd: "}}"}[end]
	var open []byte
	for l.pos < len(l.src) {
		rest := l.src[l.pos:]
		if len(open) == 0 {
			if n := tagEnd(rest, closing, end == tokBlockEnd); n > 0 {
				l.emit(end, closing)
				l.close(n)
				return
			}
		}
		if n := spaceLen(rest); n > 0 {
			l.advance(n)
			continue
		}
		if l.number(rest) || l.word(rest) || l.quoted(rest) {
			continue
		}
		open = l.operator(rest, open)
	}
	l.fail("unexpected end of template, '" + closing + "' expected")
}

// operators are the operators of one character.
const operators = "+-*/%~[](){}<>=.:|,;"

func (l *lexer) operator(rest string, open []byte) []byte {
	n := 1
	if len(rest) > 1 {
		switch rest[:2] {
		case "//", "**", "==", "!=", ">=", "<=":
			n = 2
		}
	}
	op := rest[:n]
	switch {
	case n == 1 && strings.IndexByte(operators, op[0]) < 0:
		r, _ := utf8.DecodeRuneInString(rest)
		l.fail("unexpected character " + string(r))
	case op == "(":
		open = append(open, ')')
	case op == "[":
		open = append(open, ']')
	case op == "{":
		open = append(open, '}')
	case op == ")" || op == "]" || op == "}":
		if len(open) == 0 {
			l.fail("unexpected '" + op + "'")
		}
		if want := open[len(open)-1]; want != op[0] {
			l.fail("unexpected '" + op + "', expected '" + string(want) + "'")
		}
		open = open[:len(open)-1]
	}
	l.emit(tokOperator, op)
	l.advance(n)
	return open
}

func isIdent(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r)
}

func (l *lexer) word(rest string) bool {
	n := len(rest) - len(strings.TrimLeftFunc(rest, isIdent))
	if n == 0 {
		return false
	}
	if r, _ := utf8.DecodeRuneInString(rest); r != '_' && !unicode.IsLetter(r) {
		l.fail("invalid character in identifier " + rest[:n])
	}
	l.emit(tokName, rest[:n])
	l.advance(n)
	return true
}
