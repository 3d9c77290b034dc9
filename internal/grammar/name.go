package grammar

import (
	"slices"
	"strings"

	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// A JSON object has no name twice. Names that a schema lists come once because they come in order;
// others are remembered by the matcher, which a grammar cannot do. It reads JSON along from the
// brace that opens an object with such names, and leaves the tokens out of a mask that would
// complete a name which is there already.

// mark says what bytes of a grammar mean to a matcher.
type mark uint8

const (
	unmarked mark = iota
	opensObject
	inName
	endsName
)

// spareName is how many tokens must be left for a name beyond the shortest that it could be: the
// shortest may be taken, and so many more bytes make it another one.
const spareName = 4

// OpenObject returns the brace that opens an object with names of Name.
func OpenObject() *Expr { return &Expr{op: opLiteral, text: "{", mark: opensObject} }

// Name returns a name in quotes that d takes and that the object does not have yet, each character
// of a set as chars writes it, in one form alone. Where nothing else is possible, it may be one
// that the object has.
func Name(d *regular.DFA, chars func(regular.Set) *Expr) *Expr {
	end := &Expr{op: opLiteral, text: `"`, mark: endsName}
	return Seq(Literal(`"`), automaton(d, chars, inName), end)
}

// reader follows JSON text from the brace of an object on. It is a value: what it points to does
// not change.
type reader struct {
	top     *container // nil: outside
	quoted  bool       // inside a string
	escaped bool       // behind a backslash
	naming  bool       // the string is a name, or the next one is
	name    []byte     // of the object, as far as it has come
}

// container is an object or array that is open.
type container struct {
	object bool
	names  *pastName
	below  *container
}

// pastName is a name that an object has.
type pastName struct {
	text string
	next *pastName
}

// has reports whether the object has a name.
func (c *container) has(name []byte) bool {
	for n := c.names; n != nil; n = n.next {
		if n.text == string(name) {
			return true
		}
	}
	return false
}

// open begins with an object.
func (r *reader) open() {
	*r = reader{top: &container{object: true}, naming: true, name: r.name[:0]}
}

// step takes a byte, and reports whether it completes a name that the object has already.
func (r *reader) step(b byte) (twice bool) {
	if r.quoted {
		return r.inside(b)
	}
	switch b {
	case '"':
		r.quoted = true
		r.name = r.name[:0]
	case '{':
		r.top, r.naming = &container{object: true, below: r.top}, true
	case '[':
		r.top, r.naming = &container{below: r.top}, false
	case '}', ']':
		r.top, r.naming = r.top.below, false
	case ',':
		r.naming = r.top.object
	case ':':
		r.naming = false
	}
	return false
}

// inside takes a byte of a string.
func (r *reader) inside(b byte) (twice bool) {
	switch {
	case r.escaped:
		r.escaped = false
	case b == '\\':
		r.escaped = true
	case b == '"':
		r.quoted = false
		if !r.naming {
			return false
		}
		twice = r.top.has(r.name)
		c := *r.top
		c.names = &pastName{string(r.name), c.names}
		r.top, r.naming = &c, false
		return twice
	}
	if r.naming {
		r.name = append(r.name, b)
	}
	return false
}

// follow reads a token's text that leads on from state id, and reports whether it completes a name
// twice.
func (r *reader) follow(s *states, id int32, text []byte) (twice bool) {
	for _, b := range text {
		switch {
		case r.top != nil:
			twice = r.step(b) || twice
		case b == '{' && s.opens(id):
			r.open()
		}
		id = s.step(id, b) // dead within a run that the state has lost
	}
	return twice
}

// opens reports whether a brace behind state id opens an object whose names are remembered.
func (s *states) opens(id int32) bool {
	for _, c := range s.list[id].configs {
		if s.p.code[c.at].mark == opensObject {
			return true
		}
	}
	return false
}

// dropTwice takes the tokens out of a mask that would complete a name twice, unless that is all
// there is.
func (m *Matcher) dropTwice(allowed []uint64) {
	if !m.g.program.named {
		return
	}
	v := m.g.vocab
	var dropped []int32
	drop := func(id int32) {
		if allowed[id/64]>>(id%64)&1 != 0 {
			allowed[id/64] &^= 1 << (id % 64)
			dropped = append(dropped, id)
		}
	}
	if m.json.top != nil && m.json.quoted && m.json.naming && !m.json.escaped {
		m.dropPast(drop)
	}
	// Tokens with a name of their own, from quote to quote.
	for _, id := range v.quotes {
		if allowed[id/64]>>(id%64)&1 != 0 && m.twice(v.text(id)) {
			drop(id)
		}
	}
	for _, word := range allowed {
		if word != 0 {
			return
		}
	}
	if !m.states.list[m.at].ends {
		mark64(allowed, dropped)
	}
}

// dropPast drops the tokens with which the name at hand becomes one that is there, or can become
// nothing else.
func (m *Matcher) dropPast(drop func(id int32)) {
	var rests []string
	for n := m.json.top.names; n != nil; n = n.next {
		if strings.HasPrefix(n.text, string(m.json.name)) {
			rests = append(rests, n.text[len(m.json.name):]+`"`)
		}
	}
	slices.Sort(rests)
	t := m.g.vocab.whole
	m.states.dropRests(t, 0, len(t.label), m.at, rests, 0, drop)
}

// dropRests does it for the nodes of t from node to end, where a name stands at state id and may
// become one of rests, which are sorted and have n bytes in common that are there.
func (s *states) dropRests(t *trie, node, end int, id int32, rests []string, n int,
	drop func(id int32),
) {
	eachByte(rests, n, func(b byte, group []string) {
		for node < end && t.label[node] < b {
			node = int(t.end[node])
		}
		to := s.step(id, b)
		if node >= end || t.label[node] != b || to == dead {
			return
		}
		below := int(t.end[node])
		switch b {
		case '"':
			for at := node; at < below; at++ {
				t.tokens(at, drop)
			}
		default:
			if t.token[node] >= 0 && !s.elsewhere(to, group, n+1) {
				t.tokens(node, drop)
			}
			s.dropRests(t, node+1, below, to, group, n+1, drop)
		}
	})
}

// eachByte calls f for the bytes at place n of sorted texts, with the texts that have it.
func eachByte(list []string, n int, f func(b byte, group []string)) {
	for len(list) > 0 {
		b, size := list[0][n], 1
		for size < len(list) && list[size][n] == b {
			size++
		}
		f(b, list[:size])
		list = list[size:]
	}
}

// elsewhere reports whether a name at state id may become another than rests, of which n bytes are
// there.
func (s *states) elsewhere(id int32, rests []string, n int) bool {
	var taken [256]bool
	eachByte(rests, n, func(b byte, _ []string) { taken[b] = true })
	for i := range 256 {
		if b := byte(i + 'a'); !taken[b] && s.step(id, b) != dead { // letters first
			return true
		}
	}
	found := false
	eachByte(rests, n, func(b byte, group []string) {
		if b != '"' && !found {
			to := s.step(id, b)
			found = to != dead && s.elsewhere(to, group, n+1)
		}
	})
	return found
}

// tokens calls f for the tokens of a node.
func (t *trie) tokens(node int, f func(id int32)) {
	if id := t.token[node]; id >= 0 {
		f(id)
		for _, same := range t.same[id] {
			f(same)
		}
	}
}

// twice reports whether a token's text completes a name twice.
func (m *Matcher) twice(text []byte) bool {
	r := m.json
	r.name = append(m.scratch[:0], m.json.name...)
	twice := r.follow(m.states, m.at, text)
	m.scratch = r.name[:0]
	return twice
}
