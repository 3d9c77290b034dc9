package jsonschema

import (
	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// maxIndent is how many blanks may follow a line feed between two parts of JSON text.
const maxIndent = 24

// gap is the white space that may stand behind a bracket, comma or colon: nothing, a blank, or a
// line feed and an indentation. It is bounded, so that no model loses itself in it.
func gap() *grammar.Expr {
	blanks := grammar.Repeat(grammar.Literal(" "), 0, maxIndent)
	return grammar.Choice(grammar.Seq(), grammar.Literal(" "),
		grammar.Seq(grammar.Literal("\n"), blanks))
}

// special are the characters that a JSON string does not hold as they are.
func special() regular.Set { return regular.Of(0, 0x1f, '"', '"', '\\', '\\') }

// characters returns one character of s as it stands in a JSON string, in its one canonical form.
func characters(s regular.Set) *grammar.Expr {
	branches := []*grammar.Expr{grammar.Chars(s.Minus(special()))}
	for pairs := s.And(special()); len(pairs) > 0; pairs = pairs[2:] {
		for c := pairs[0]; c <= pairs[1]; c++ {
			branches = append(branches, grammar.Literal(escaped(c)))
		}
	}
	return grammar.Choice(branches...)
}

// anyCharacter returns one character of a JSON string in any form that JSON has; surrogates come in
// pairs.
func anyCharacter() *grammar.Expr {
	hex := grammar.Chars(regular.Of('0', '9', 'A', 'F', 'a', 'f'))
	one := func(pairs ...rune) *grammar.Expr { return grammar.Chars(regular.Of(pairs...)) }
	d := one('D', 'D', 'd', 'd')
	number := grammar.Choice(
		grammar.Seq(one('0', '9', 'A', 'C', 'E', 'F', 'a', 'c', 'e', 'f'), hex, hex, hex),
		grammar.Seq(d, one('0', '7'), hex, hex),
		grammar.Seq(d, one('8', '9', 'A', 'B', 'a', 'b'), hex, hex,
			grammar.Literal(`\u`), d, one('C', 'F', 'c', 'f'), hex, hex),
	)
	escapes := grammar.Choice(grammar.Chars(regular.Of('"', '"', '\\', '\\', '/', '/', 'b', 'b',
		'f', 'f', 'n', 'n', 'r', 'r', 't', 't')), grammar.Seq(grammar.Literal("u"), number))
	return grammar.Choice(grammar.Chars(special().Not()),
		grammar.Seq(grammar.Literal(`\`), escapes))
}

// quoted returns a JSON string of what inside matches.
func quoted(inside *grammar.Expr) *grammar.Expr {
	return grammar.Seq(grammar.Literal(`"`), inside, grammar.Literal(`"`))
}

// list returns elements between brackets; first and what follows it are as separate parts, so that
// an empty list has neither.
func list(open string, inside *grammar.Expr, closing string) *grammar.Expr {
	return grammar.Seq(grammar.Literal(open), gap(), inside, gap(), grammar.Literal(closing))
}

// comma returns what separates two elements.
func comma() *grammar.Expr { return grammar.Seq(grammar.Literal(","), gap()) }

// colon returns what separates a name from its value.
func colon() *grammar.Expr { return grammar.Seq(grammar.Literal(":"), gap()) }

// constant returns a value as JSON text.
func constant(v *value) *grammar.Expr {
	switch v.kind {
	case isNull:
		return grammar.Literal("null")
	case isString:
		return grammar.Literal(quote(v.text))
	case isBool, isNumber:
		return grammar.Literal(v.text)
	case isArray:
		var parts []*grammar.Expr
		for i, item := range v.items {
			if i > 0 {
				parts = append(parts, comma())
			}
			parts = append(parts, constant(item))
		}
		return list("[", grammar.Seq(parts...), "]")
	}
	var parts []*grammar.Expr
	for i, m := range v.members {
		if i > 0 {
			parts = append(parts, comma())
		}
		parts = append(parts, grammar.Literal(quote(m.name)), colon(), constant(m.value))
	}
	return list("{", grammar.Seq(parts...), "}")
}
