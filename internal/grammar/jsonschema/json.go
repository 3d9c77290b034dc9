package jsonschema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// maxIndent is how many blanks may follow a line feed between two parts of JSON text.
const maxIndent = 24

// shared are the rules that many places of a grammar have in common.
type shared struct {
	special                  regular.Set // characters that a string holds as escapes alone
	blank, escape, any, free *grammar.Rule
}

// newShared makes the rules of texts whose strings hold the characters of avoid as escapes.
func newShared(avoid regular.Set) *shared {
	s := &shared{
		special: regular.Of(0, 0x1f, '"', '"', '\\', '\\').Or(avoid),
		blank:   grammar.NewRule("white space"), escape: grammar.NewRule("an escape"),
		any: grammar.NewRule("a character"), free: grammar.NewRule("a string"),
	}
	blanks := grammar.Repeat(grammar.Literal(" "), 0, maxIndent)
	s.blank.Set(grammar.Choice(grammar.Seq(), grammar.Literal(" "),
		grammar.Seq(grammar.Literal("\n"), blanks)))
	s.escape.Set(escapes(s.special))
	s.any.Set(anyEscape())
	s.free.Set(quoted(grammar.Repeat(s.anyCharacter(), 0, unbounded)))
	return s
}

// gap is the white space that may stand behind a bracket, comma or colon: nothing, a blank, or a
// line feed and an indentation. It is bounded, so that no model loses itself in it.
func (s *shared) gap() *grammar.Expr { return s.blank.Ref() }

// characters returns one character of a set as it stands in a JSON string, in one form alone.
func (s *shared) characters(set regular.Set) *grammar.Expr {
	plain, rest := grammar.Chars(set.Minus(s.special)), set.And(s.special)
	switch {
	case rest.Empty():
		return plain
	case slices.Equal(rest, s.special):
		return grammar.Choice(plain, s.escape.Ref())
	}
	return grammar.Choice(plain, escapes(rest))
}

// escapes returns the escapes of a set.
func escapes(set regular.Set) *grammar.Expr {
	var branches []*grammar.Expr
	for ; len(set) > 0; set = set[2:] {
		for c := set[0]; c <= set[1]; c++ {
			branches = append(branches, grammar.Literal(escaped(c)))
		}
	}
	return grammar.Choice(branches...)
}

// anyCharacter returns one character of a JSON string in any form that JSON has.
func (s *shared) anyCharacter() *grammar.Expr {
	return grammar.Choice(grammar.Chars(s.special.Not()), s.any.Ref())
}

// anyEscape returns an escape of JSON; surrogates come in pairs.
func anyEscape() *grammar.Expr {
	hex := grammar.Chars(regular.Of('0', '9', 'A', 'F', 'a', 'f'))
	one := func(pairs ...rune) *grammar.Expr { return grammar.Chars(regular.Of(pairs...)) }
	d := one('D', 'D', 'd', 'd')
	number := grammar.Choice(
		grammar.Seq(one('0', '9', 'A', 'C', 'E', 'F', 'a', 'c', 'e', 'f'), hex, hex, hex),
		grammar.Seq(d, one('0', '7'), hex, hex),
		grammar.Seq(d, one('8', '9', 'A', 'B', 'a', 'b'), hex, hex,
			grammar.Literal(`\u`), d, one('C', 'F', 'c', 'f'), hex, hex),
	)
	short := grammar.Chars(regular.Of('"', '"', '\\', '\\', '/', '/', 'b', 'b', 'f', 'f', 'n', 'n',
		'r', 'r', 't', 't'))
	return grammar.Seq(grammar.Literal(`\`),
		grammar.Choice(short, grammar.Seq(grammar.Literal("u"), number)))
}

// quote returns text as a JSON string, with the escapes that have to be and no others.
func (s *shared) quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range text {
		if s.special.Has(c) {
			b.WriteString(escaped(c))
		} else {
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// escaped returns the escape of a character.
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
	return fmt.Sprintf(`\u%04x`, c)
}

// quoted returns a JSON string of what inside matches.
func quoted(inside *grammar.Expr) *grammar.Expr {
	return grammar.Seq(grammar.Literal(`"`), inside, grammar.Literal(`"`))
}

// list returns what stands between two brackets, which may be nothing.
func (s *shared) list(open, inside *grammar.Expr, closing string) *grammar.Expr {
	return grammar.Seq(open, s.gap(), inside, s.gap(), grammar.Literal(closing))
}

// comma returns what separates two elements.
func (s *shared) comma() *grammar.Expr { return grammar.Seq(grammar.Literal(","), s.gap()) }

// colon returns what separates a name from its value.
func (s *shared) colon() *grammar.Expr { return grammar.Seq(grammar.Literal(":"), s.gap()) }

// constant returns a value as JSON text.
func (s *shared) constant(v *value) *grammar.Expr {
	switch v.kind {
	case isNull:
		return grammar.Literal("null")
	case isString:
		return grammar.Literal(s.quote(v.text))
	case isBool, isNumber:
		return grammar.Literal(v.text)
	case isArray:
		var parts []*grammar.Expr
		for i, item := range v.items {
			if i > 0 {
				parts = append(parts, s.comma())
			}
			parts = append(parts, s.constant(item))
		}
		return s.list(grammar.Literal("["), grammar.Seq(parts...), "]")
	}
	var parts []*grammar.Expr
	for i, m := range v.members {
		if i > 0 {
			parts = append(parts, s.comma())
		}
		parts = append(parts, grammar.Literal(s.quote(m.name)), s.colon(), s.constant(m.value))
	}
	return s.list(grammar.Literal("{"), grammar.Seq(parts...), "}")
}
