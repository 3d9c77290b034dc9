package regular

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Syntax is a way to write regular expressions; they differ in what classes mean.
type Syntax uint8

// The syntaxes.
const (
	// Plain takes classes as RE2 does: \d, \w and \s are ASCII, and . is all but the line feed.
	Plain Syntax = iota
	// ECMA takes them as ECMA-262 does, for JSON Schema: \s is all white space, and . leaves out
	// every line terminator.
	ECMA
)

// What an expression may be at most. Counts are kept by counters, so they cost nothing.
const (
	maxPattern = 1 << 16 // bytes
	maxDepth   = 200     // of groups
	maxCount   = 1 << 30
	maxRanges  = 1 << 18 // of all classes together; \p{L} has 650
)

// Error says what in a regular expression is wrong or not supported.
type Error struct {
	Pattern string
	Offset  int    // in bytes
	Reason  string // names the construct
}

// Error implements error.
func (e *Error) Error() string {
	pattern := e.Pattern
	if len(pattern) > 80 {
		pattern = pattern[:80] + "…"
	}
	return fmt.Sprintf("regular expression %q: at %d: %s", pattern, e.Offset, e.Reason)
}

// Parse reads a regular expression. Captures are groups, lazy quantifiers match what greedy ones
// do; lookaround, backreferences, word boundaries, atomic groups and flags but for (?i) and (?s)
// at the beginning are refused by name.
func Parse(pattern string, syntax Syntax) (*Node, error) {
	p := &parser{src: pattern, syntax: syntax}
	if len(pattern) > maxPattern {
		return nil, p.errorf("it has %d bytes, at most %d are read", len(pattern), maxPattern)
	}
	if !utf8.ValidString(pattern) {
		return nil, p.errorf("it is not UTF-8")
	}
	if err := p.flags(); err != nil {
		return nil, err
	}
	n, err := p.union(0)
	if err != nil {
		return nil, err
	}
	if p.pos < len(p.src) {
		return nil, p.errorf("unmatched )")
	}
	return n, nil
}

type parser struct {
	src    string
	pos    int
	syntax Syntax
	fold   *folding // after (?i)
	dotAll bool     // after (?s)
	ranges int      // of all classes
}

func (p *parser) errorf(format string, args ...any) error {
	return &Error{Pattern: p.src, Offset: p.pos, Reason: fmt.Sprintf(format, args...)}
}

// has reports whether s comes next.
func (p *parser) has(s string) bool {
	return len(p.src)-p.pos >= len(s) && p.src[p.pos:p.pos+len(s)] == s
}

// take skips s if it comes next.
func (p *parser) take(s string) bool {
	if !p.has(s) {
		return false
	}
	p.pos += len(s)
	return true
}

// rune takes the next character.
func (p *parser) rune() rune {
	c, n := utf8.DecodeRuneInString(p.src[p.pos:])
	p.pos += n
	return c
}

// flags reads (?i), (?s) and (?is) at the beginning.
func (p *parser) flags() error {
	if !p.has("(?i") && !p.has("(?s") {
		return nil
	}
	p.pos += len("(?")
	for {
		switch {
		case p.take("i"):
			p.fold = newFolding()
		case p.take("s"):
			p.dotAll = true
		case p.take(")"):
			return nil
		default:
			return p.errorf("flags other than (?i) and (?s) are not supported")
		}
	}
}

func (p *parser) union(depth int) (*Node, error) {
	if depth > maxDepth {
		return nil, p.errorf("groups are nested more than %d deep", maxDepth)
	}
	var kids []*Node
	for {
		n, err := p.cat(depth)
		if err != nil {
			return nil, err
		}
		kids = append(kids, n)
		if !p.take("|") {
			return Union(kids...), nil
		}
	}
}

func (p *parser) cat(depth int) (*Node, error) {
	var kids []*Node
	for p.pos < len(p.src) && !p.has("|") && !p.has(")") {
		n, err := p.atom(depth)
		if err != nil {
			return nil, err
		}
		if p.ranges += len(n.Set) / 2; p.ranges > maxRanges {
			return nil, p.errorf("its classes have more than %d ranges", maxRanges)
		}
		if n, err = p.quantified(n); err != nil {
			return nil, err
		}
		kids = append(kids, n)
	}
	return Concat(kids...), nil
}

// atom reads what a quantifier applies to.
func (p *parser) atom(depth int) (*Node, error) {
	switch {
	case p.has("("):
		return p.group(depth)
	case p.has("["):
		s, err := p.class()
		return Char(s), err
	case p.has(`\`):
		return p.escape()
	case p.has("*"), p.has("+"), p.has("?"):
		return nil, p.errorf("nothing before %q to repeat", p.src[p.pos:p.pos+1])
	case p.take("."):
		return Char(p.dot()), nil
	case p.take("^"):
		return &Node{Op: Begin}, nil
	case p.take("$"):
		return &Node{Op: End}, nil
	}
	return Char(p.folded(One(p.rune()))), nil
}

func (p *parser) dot() Set {
	switch {
	case p.dotAll:
		return Any()
	case p.syntax == ECMA:
		return Of('\n', '\n', '\r', '\r', 0x2028, 0x2029).Not()
	}
	return One('\n').Not()
}

func (p *parser) folded(s Set) Set {
	if p.fold != nil {
		return p.fold.fold(s)
	}
	return s
}

// group reads a group from its bracket on.
func (p *parser) group(depth int) (*Node, error) {
	for _, refused := range []struct{ opening, name string }{
		{"(?=", "lookahead (?=…)"}, {"(?!", "negative lookahead (?!…)"},
		{"(?<=", "lookbehind (?<=…)"}, {"(?<!", "negative lookbehind (?<!…)"},
		{"(?>", "the atomic group (?>…)"}, {"(?P=", "the backreference (?P=…)"},
		{"(?(", "the conditional (?(…)…)"}, {"(?#", "the comment (?#…)"},
	} {
		if p.has(refused.opening) {
			return nil, p.errorf("%s is not supported", refused.name)
		}
	}
	switch {
	case p.take("(?:"):
	case p.take("(?P<"), p.take("(?<"):
		for p.pos < len(p.src) && !p.has(">") {
			p.pos++
		}
		if !p.take(">") {
			return nil, p.errorf("the name of a group does not end")
		}
	case p.has("(?"):
		return nil, p.errorf("flags are supported at the beginning alone")
	default:
		p.pos++
	}
	n, err := p.union(depth + 1)
	if err != nil {
		return nil, err
	}
	if !p.take(")") {
		return nil, p.errorf("missing )")
	}
	return n, nil
}

// quantified reads the quantifiers that follow n.
func (p *parser) quantified(n *Node) (*Node, error) {
	least, most := 0, Unbounded
	switch {
	case p.take("*"):
	case p.take("+"):
		least = 1
	case p.take("?"):
		most = 1
	case p.has("{"):
		from := p.pos
		var ok bool
		var err error
		if least, most, ok, err = p.counts(); err != nil {
			return nil, err
		}
		if !ok {
			p.pos = from
			return n, nil // a brace that is one
		}
	default:
		return n, nil
	}
	p.take("?") // lazy
	if p.has("+") {
		return nil, p.errorf("possessive quantifiers are not supported")
	}
	if p.has("*") || p.has("?") {
		return nil, p.errorf("a quantifier follows another")
	}
	if p.has("{") {
		from := p.pos
		if _, _, again, _ := p.counts(); again {
			return nil, p.errorf("a quantifier follows another")
		}
		p.pos = from
	}
	return Times(n, least, most), nil
}

// counts reads {m}, {m,} or {m,n}; ok is false if the brace begins none of them.
func (p *parser) counts() (least, most int, ok bool, err error) {
	p.pos++
	least, ok, err = p.number()
	if !ok || err != nil {
		return 0, 0, false, err
	}
	most = least
	if p.take(",") {
		most = Unbounded
		n, given, err := p.number()
		if err != nil {
			return 0, 0, false, err
		}
		if given {
			most = n
		}
	}
	if !p.take("}") {
		return 0, 0, false, nil
	}
	if most != Unbounded && most < least {
		return 0, 0, false, p.errorf("the repetition {%d,%d} is out of order", least, most)
	}
	return least, most, true, nil
}

func (p *parser) number() (n int, ok bool, err error) {
	from := p.pos
	for p.pos < len(p.src) && '0' <= p.src[p.pos] && p.src[p.pos] <= '9' {
		p.pos++
	}
	if p.pos == from {
		return 0, false, nil
	}
	n, err = strconv.Atoi(p.src[from:p.pos])
	if err != nil && !errors.Is(err, strconv.ErrRange) || n > maxCount {
		return 0, false, p.errorf("a repetition of more than %d is not supported", maxCount)
	}
	return n, true, nil
}
