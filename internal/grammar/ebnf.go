package grammar

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// Bounds of a grammar's text.
const (
	maxEBNF      = 1 << 18 // bytes
	maxEBNFDepth = 200     // of brackets
)

// EBNFError says what in a grammar's text is wrong or not supported.
type EBNFError struct {
	Line   int // from 1
	Reason string
}

// Error implements error.
func (e *EBNFError) Error() string { return fmt.Sprintf("grammar: line %d: %s", e.Line, e.Reason) }

// EBNF returns the texts of the rule root of a grammar in the form of llama.cpp's GBNF, which vLLM
// takes, too: rules name ::= …, "literals", [classes], a point for any character, groups,
// alternatives, * + ? {m} {m,} {m,n}, and comments behind #. An error is an *EBNFError.
func EBNF(src string) (*Expr, error) {
	p := &ebnf{src: src, rules: map[string]*Rule{}}
	switch {
	case len(src) > maxEBNF:
		return nil, p.errorf("it has %d bytes, at most %d are read", len(src), maxEBNF)
	case !utf8.ValidString(src):
		return nil, p.errorf("it is not UTF-8")
	case !strings.Contains(src, "::="):
		return nil, p.errorf(`no rule "name ::= …" is there; Lark's grammars are not supported`)
	}
	for p.space(); p.pos < len(p.src); p.space() {
		if err := p.rule(); err != nil {
			return nil, err
		}
	}
	for _, use := range p.uses {
		if p.rules[use.name].body == nil {
			return nil, &EBNFError{use.line, fmt.Sprintf("the rule %.80q is not defined", use.name)}
		}
	}
	root := p.rules["root"]
	if root == nil || root.body == nil {
		return nil, p.errorf(`there is no rule "root"`)
	}
	return root.Ref(), nil
}

// ebnf reads a grammar's text.
type ebnf struct {
	src   string
	pos   int
	rules map[string]*Rule
	uses  []use
}

// use is a place where a rule is used.
type use struct {
	name string
	line int
}

func (p *ebnf) line() int { return 1 + strings.Count(p.src[:p.pos], "\n") }

func (p *ebnf) errorf(format string, args ...any) error {
	return &EBNFError{p.line(), fmt.Sprintf(format, args...)}
}

// space skips white space and comments.
func (p *ebnf) space() {
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.pos++
		case '#':
			end := strings.IndexByte(p.src[p.pos:], '\n')
			if end < 0 {
				end = len(p.src) - p.pos
			}
			p.pos += end
		default:
			return
		}
	}
}

// take skips s, and the space behind it, if it comes next.
func (p *ebnf) take(s string) bool {
	if !strings.HasPrefix(p.src[p.pos:], s) {
		return false
	}
	p.pos += len(s)
	p.space()
	return true
}

// name reads the name of a rule, or "".
func (p *ebnf) name() string {
	from := p.pos
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && c != '_' && c != '-' && (c < '0' || c > '9') {
			break
		}
		p.pos++
	}
	name := p.src[from:p.pos]
	p.space()
	return name
}

func (p *ebnf) ref(name string) *Rule {
	r := p.rules[name]
	if r == nil {
		r = NewRule(name)
		p.rules[name] = r
	}
	return r
}

func (p *ebnf) rule() error {
	name := p.name()
	if name == "" {
		return p.errorf("the name of a rule is missing before %.20q", p.src[p.pos:])
	}
	if !p.take("::=") {
		return p.errorf("%q is missing behind the name %.80q", "::=", name)
	}
	r := p.ref(name)
	if r.body != nil {
		return p.errorf("the rule %.80q is defined twice", name)
	}
	body, err := p.choice(0)
	if err != nil {
		return err
	}
	r.Set(body)
	return nil
}

func (p *ebnf) choice(depth int) (*Expr, error) {
	if depth > maxEBNFDepth {
		return nil, p.errorf("brackets are nested more than %d deep", maxEBNFDepth)
	}
	var branches []*Expr
	for {
		x, err := p.seq(depth)
		if err != nil {
			return nil, err
		}
		branches = append(branches, x)
		if !p.take("|") {
			return Choice(branches...), nil
		}
	}
}

func (p *ebnf) seq(depth int) (*Expr, error) {
	var parts []*Expr
	for p.pos < len(p.src) && p.src[p.pos] != '|' && p.src[p.pos] != ')' && !p.atRule() {
		x, err := p.part(depth)
		if err != nil {
			return nil, err
		}
		if x, err = p.quantified(x); err != nil {
			return nil, err
		}
		parts = append(parts, x)
	}
	return Seq(parts...), nil
}

// atRule reports whether the next rule begins here.
func (p *ebnf) atRule() bool {
	from := p.pos
	defer func() { p.pos = from }()
	return p.name() != "" && strings.HasPrefix(p.src[p.pos:], "::=")
}

// part reads what a quantifier applies to.
func (p *ebnf) part(depth int) (*Expr, error) {
	switch {
	case p.src[p.pos] == '"':
		s, err := p.literal()
		return Literal(s), err
	case p.src[p.pos] == '[':
		s, err := p.class()
		return Chars(s), err
	case p.take("."):
		return Chars(regular.Any()), nil
	case strings.HasPrefix(p.src[p.pos:], "(="):
		return nil, p.errorf("lookahead (=…) is not supported")
	case p.take("("):
		x, err := p.choice(depth + 1)
		if err == nil && !p.take(")") {
			err = p.errorf("missing )")
		}
		return x, err
	}
	line := p.line()
	name := p.name()
	if name == "" {
		return nil, p.errorf("%.20q is not expected here", p.src[p.pos:])
	}
	p.uses = append(p.uses, use{name, line})
	return p.ref(name).Ref(), nil
}

func (p *ebnf) quantified(x *Expr) (*Expr, error) {
	for p.pos < len(p.src) {
		switch {
		case p.take("*"):
			x = Repeat(x, 0, Unbounded)
		case p.take("+"):
			x = Repeat(x, 1, Unbounded)
		case p.take("?"):
			x = Optional(x)
		case p.take("{"):
			least, most, err := p.counts()
			if err != nil {
				return nil, err
			}
			x = Repeat(x, least, most)
		default:
			return x, nil
		}
	}
	return x, nil
}

// counts reads what stands behind an opening brace.
func (p *ebnf) counts() (least, most int, err error) {
	end := strings.IndexByte(p.src[p.pos:], '}')
	if end < 0 {
		return 0, 0, p.errorf("missing }")
	}
	text := strings.ReplaceAll(p.src[p.pos:p.pos+end], " ", "")
	low, high, several := strings.Cut(text, ",")
	if low == "" {
		low = "0"
	}
	least, err = strconv.Atoi(low)
	most = least
	if several {
		most = Unbounded
	}
	if err == nil && high != "" {
		most, err = strconv.Atoi(high)
	}
	if err != nil || least < 0 || most != Unbounded && most < least || high == "-1" {
		return 0, 0, p.errorf("{%.40s} is no number of repetitions", text)
	}
	p.pos += end
	p.take("}")
	return least, most, nil
}

func (p *ebnf) literal() (string, error) {
	p.pos++
	var b strings.Builder
	for {
		if p.pos == len(p.src) || p.src[p.pos] == '\n' {
			return "", p.errorf(`a literal has no closing "`)
		}
		if p.src[p.pos] == '"' {
			p.take(`"`)
			return b.String(), nil
		}
		c, err := p.char()
		if err != nil {
			return "", err
		}
		b.WriteRune(c)
	}
}

func (p *ebnf) class() (regular.Set, error) {
	p.pos++
	negate := p.pos < len(p.src) && p.src[p.pos] == '^'
	if negate {
		p.pos++
	}
	var pairs []rune
	for {
		if p.pos == len(p.src) {
			return nil, p.errorf("missing ]")
		}
		if p.src[p.pos] == ']' {
			p.take("]")
			break
		}
		lo, err := p.char()
		if err != nil {
			return nil, err
		}
		hi := lo
		if rest := p.src[p.pos:]; len(rest) > 1 && rest[0] == '-' && rest[1] != ']' {
			p.pos++
			if hi, err = p.char(); err != nil {
				return nil, err
			}
			if hi < lo {
				return nil, p.errorf("the range %c-%c is out of order", lo, hi)
			}
		}
		pairs = append(pairs, lo, hi)
	}
	s := regular.Of(pairs...)
	if negate {
		s = s.Not()
	}
	return s, nil
}

// char reads a character of a literal or class.
func (p *ebnf) char() (rune, error) {
	c, n := utf8.DecodeRuneInString(p.src[p.pos:])
	p.pos += n
	if c != '\\' {
		return c, nil
	}
	if p.pos == len(p.src) {
		return 0, p.errorf(`trailing \`)
	}
	c, n = utf8.DecodeRuneInString(p.src[p.pos:])
	p.pos += n
	digits := 0
	switch c {
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case '"', '\\', '[', ']', '-', '^', '/', '\'':
		return c, nil
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		return 0, p.errorf(`the escape \%c is not supported`, c)
	}
	if len(p.src)-p.pos < digits {
		return 0, p.errorf(`\%c needs %d digits`, c, digits)
	}
	text := p.src[p.pos : p.pos+digits]
	code, err := strconv.ParseUint(text, 16, 32)
	if err != nil || !utf8.ValidRune(rune(code)) || code > utf8.MaxRune {
		return 0, p.errorf("%q is not the number of a character", text)
	}
	p.pos += digits
	return rune(code), nil
}
