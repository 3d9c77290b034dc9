package grammar

import (
	"slices"
	"unicode/utf8"

	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// Unbounded is the most of a Repeat without bound.
const Unbounded = regular.Unbounded

type exprOp uint8

const (
	opLiteral exprOp = iota
	opChars
	opToken
	opSeq
	opChoice
	opRepeat
	opRef
)

// Expr is a part of a grammar: a set of texts, which may hold control tokens. It does not change
// and may be used in many places.
type Expr struct {
	op          exprOp
	text        string
	chars       regular.Set
	token       int32
	kids        []*Expr
	least, most int
	rule        *Rule
	mark        mark
}

// Literal returns the text s, byte for byte.
func Literal(s string) *Expr { return &Expr{op: opLiteral, text: s} }

// Chars returns one character of a set, in UTF-8.
func Chars(s regular.Set) *Expr { return &Expr{op: opChars, chars: s} }

// Token returns a control token: an id that is no text.
func Token(id int32) *Expr { return &Expr{op: opToken, token: id} }

// Seq returns its parts one after the other; Seq() is the empty text.
func Seq(parts ...*Expr) *Expr {
	if len(parts) == 1 {
		return parts[0]
	}
	return &Expr{op: opSeq, kids: slices.Clone(parts)}
}

// Choice returns any one of its branches; Choice() is nothing at all, and what needs it is left out
// of a grammar.
func Choice(branches ...*Expr) *Expr {
	if len(branches) == 1 {
		return branches[0]
	}
	return &Expr{op: opChoice, kids: slices.Clone(branches)}
}

// Repeat returns x least to most times; most may be Unbounded. Large counts cost nothing; those
// above 2^30 are as good as that.
func Repeat(x *Expr, least, most int) *Expr {
	const large = 1 << 30
	return &Expr{op: opRepeat, kids: []*Expr{x}, least: min(least, large), most: min(most, large)}
}

// Optional returns x or the empty text.
func Optional(x *Expr) *Expr { return Repeat(x, 0, 1) }

// Rule is a name for an Expr, by which it may be part of itself.
type Rule struct {
	name string
	body *Expr
	mark mark // of its bytes
}

// NewRule returns a rule whose body is still to be Set. The name is for errors.
func NewRule(name string) *Rule { return &Rule{name: name} }

// Set gives the rule its body, once.
func (r *Rule) Set(body *Expr) { r.body = body }

// Ref returns what the rule's body is.
func (r *Rule) Ref() *Expr { return &Expr{op: opRef, rule: r} }

// small reports whether the rule is a character or a choice of few, which cost less than a call.
func (r *Rule) small() bool {
	const few = 8
	if r.body == nil || r.mark != unmarked {
		return false
	}
	switch r.body.op {
	case opChars, opLiteral:
		return true
	case opChoice, opSeq:
		return len(r.body.kids) <= few && !slices.ContainsFunc(r.body.kids, func(k *Expr) bool {
			return k.op != opChars && k.op != opLiteral && (k.op != opSeq || !k.flat())
		})
	}
	return false
}

// flat reports whether x is made of a few characters and literals alone.
func (x *Expr) flat() bool {
	const few = 4
	return len(x.kids) <= few && !slices.ContainsFunc(x.kids, func(k *Expr) bool {
		return k.op != opChars && k.op != opLiteral
	})
}

// Regular returns the texts that a regular expression without anchors matches from end to end, each
// character of a set as chars writes it.
func Regular(n *regular.Node, chars func(regular.Set) *Expr) *Expr {
	switch n.Op {
	case regular.Chars:
		return chars(n.Set)
	case regular.Repeat:
		return Repeat(Regular(n.Kids[0], chars), n.Min, n.Max)
	}
	kids := make([]*Expr, len(n.Kids))
	for i, k := range n.Kids {
		kids[i] = Regular(k, chars)
	}
	if n.Op == regular.Alt {
		return Choice(kids...)
	}
	return Seq(kids...) // anchors match the empty text
}

// Automaton returns the texts that d takes, each character of a set as chars writes it.
func Automaton(d *regular.DFA, chars func(regular.Set) *Expr) *Expr {
	return automaton(d, chars, unmarked)
}

func automaton(d *regular.DFA, chars func(regular.Set) *Expr, m mark) *Expr {
	rules := make([]*Rule, d.States())
	for i := range rules {
		rules[i] = NewRule("a state of a pattern")
		rules[i].mark = m
	}
	for i, r := range rules {
		var loop *Expr
		var branches []*Expr
		d.Edges(i, func(on regular.Set, to int) {
			if to == i {
				loop = Repeat(chars(on), 0, Unbounded)
				return
			}
			branches = append(branches, Seq(chars(on), rules[to].Ref()))
		})
		if d.Accepts(i) {
			branches = append(branches, Seq())
		}
		body := Choice(branches...)
		if loop != nil {
			body = Seq(loop, body)
		}
		r.Set(body)
	}
	return rules[0].Ref()
}

// Regex returns the texts that a regular expression, in Python's or RE2's syntax, matches from end
// to end. What is not supported is a *regular.Error that names it.
func Regex(pattern string) (*Expr, error) {
	n, err := regular.Parse(pattern, regular.Plain)
	if err != nil {
		return nil, err
	}
	whole, err := n.Full()
	if err != nil {
		return nil, &regular.Error{Pattern: pattern, Reason: err.Error()}
	}
	return Regular(whole, Chars), nil
}

// Until returns the texts that do not contain stop, as they stand before a stop. No end of stop may
// be a beginning of it, so that text and stop part in one place.
func Until(stop string) *Expr {
	runes := []rune(stop)
	if len(runes) == 0 || !utf8.ValidString(stop) {
		return Choice()
	}
	// State i: the last i characters are the first of stop. (Knuth, Morris and Pratt)
	rules := make([]*Rule, len(runes))
	for i := range rules {
		rules[i] = NewRule("text before " + stop)
	}
	for i, r := range rules {
		to := map[int]regular.Set{}
		known := regular.Set{}
		for _, c := range runes {
			if !known.Has(c) {
				known = known.Or(regular.One(c))
				j := overlap(runes, i, c)
				to[j] = to[j].Or(regular.One(c))
			}
		}
		to[0] = to[0].Or(known.Not())
		var branches []*Expr
		for j := range runes {
			if j != i && !to[j].Empty() {
				branches = append(branches, Seq(Chars(to[j]), rules[j].Ref()))
			}
		}
		body := Choice(append(branches, Seq())...)
		if !to[i].Empty() {
			body = Seq(Repeat(Chars(to[i]), 0, Unbounded), body)
		}
		r.Set(body)
	}
	return rules[0].Ref()
}

// overlap returns how many characters of stop a text ends with that ends with i of them and c.
func overlap(stop []rune, i int, c rune) int {
	tail := append(slices.Clone(stop[:i]), c)
	for n := len(tail); n > 0; n-- {
		if slices.Equal(tail[len(tail)-n:], stop[:n]) {
			return n
		}
	}
	return 0
}
