package grammar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// ErrTooLarge says that a grammar has more parts than are compiled.
var ErrTooLarge = errors.New("the grammar is too large")

// Bounds of a program. A schema of a hundred properties takes a few thousand instructions.
const (
	maxInstructions = 200_000
	maxNesting      = 2_000 // of expressions within each other
)

type code uint8

const (
	doBytes  code = iota // one byte, by edges
	doToken              // the control token arg, then next
	doBranch             // any of outs
	doCall               // the rule arg, then next
	doReturn             // the rule is complete
	doRepeat             // enter a counted repetition: body, then next
	doAgain              // the body of the repetition next is complete
	doEnd                // the text is complete
)

// edge leads from one byte lo-hi to an instruction.
type edge struct {
	lo, hi byte
	to     int32
}

// instruction is a state of the grammar's automaton. A rule's instructions end with doReturn, the
// body of a counted repetition with doAgain.
type instruction struct {
	code        code
	arg         int32 // doToken: the id; doCall: the rule; doRepeat: the body
	next        int32
	least, most int32 // of doRepeat
	edges       []edge
	outs        []int32
	// run is set at bytes that begin a character of a repetition of characters. Each of them leads
	// to back, and from there to here again; back is a doAgain if the repetition is counted.
	run  *runSet
	back int32
	mark mark
}

// program is a grammar as instructions.
type program struct {
	code  []instruction
	start int32
	rules []int32 // where each starts
	names []string
	named bool // objects' names are remembered

	runs     map[string]*runSet
	runBytes int // of those of them that were not there before
}

// compiler translates expressions. Every part is emitted behind what follows it.
type compiler struct {
	program
	vocab   *Vocabulary
	index   map[*Rule]int32
	pending []*Rule
	chars   map[charsAt]int32
	known   map[string]int32 // instructions by what they are
	key     []byte
	marking mark // of the rule at hand
	depth   int
	edges   int
}

// charsAt is a set of characters, and the instruction that follows it.
type charsAt struct {
	x    *Expr
	next int32
}

func translate(x *Expr, v *Vocabulary) (*program, error) {
	c := &compiler{
		vocab: v, index: map[*Rule]int32{}, chars: map[charsAt]int32{}, known: map[string]int32{},
	}
	c.runs = map[string]*runSet{}
	end, err := c.put(instruction{code: doEnd})
	if err != nil {
		return nil, err
	}
	if c.start, err = c.emit(x, end); err != nil {
		return nil, err
	}
	for i := 0; i < len(c.pending); i++ {
		r := c.pending[i]
		if r.body == nil {
			return nil, fmt.Errorf("grammar: the rule %s has no body", r.name)
		}
		end, err := c.put(instruction{code: doReturn})
		if err != nil {
			return nil, err
		}
		c.marking = r.mark
		if c.rules[i], err = c.emit(r.body, end); err != nil {
			return nil, err
		}
	}
	return &c.program, nil
}

// put adds an instruction, or returns an equal one that is there. Those that are completed later
// are always new.
func (c *compiler) put(i instruction) (int32, error) {
	switch i.code {
	case doBytes, doToken, doCall, doReturn:
		if i.code == doBytes && i.mark == unmarked {
			i.mark = c.marking
		}
		c.named = c.named || i.mark == opensObject
		c.key = append(c.key[:0], byte(i.code), byte(i.mark))
		c.key = binary.LittleEndian.AppendUint32(c.key, uint32(i.arg))
		c.key = binary.LittleEndian.AppendUint32(c.key, uint32(i.next))
		for _, e := range i.edges {
			c.key = append(c.key, e.lo, e.hi)
			c.key = binary.LittleEndian.AppendUint32(c.key, uint32(e.to))
		}
		if at, ok := c.known[string(c.key)]; ok {
			return at, nil
		}
		c.known[string(c.key)] = int32(len(c.code))
	}
	c.edges += len(i.edges) + len(i.outs)
	if len(c.code) == maxInstructions || c.edges > 4*maxInstructions {
		return 0, ErrTooLarge
	}
	c.code = append(c.code, i)
	return int32(len(c.code) - 1), nil
}

// emit returns the instruction that begins x, which next follows.
func (c *compiler) emit(x *Expr, next int32) (int32, error) {
	if c.depth++; c.depth > maxNesting {
		return 0, fmt.Errorf("%w: it is nested more than %d deep", ErrTooLarge, maxNesting)
	}
	defer func() { c.depth-- }()
	switch x.op {
	case opLiteral:
		if x.mark != unmarked { // a single byte
			return c.put(instruction{
				code: doBytes, edges: []edge{{x.text[0], x.text[0], next}}, mark: x.mark,
			})
		}
		return c.literal(x.text, next)
	case opChars:
		at, err := c.character(x.chars, next)
		c.chars[charsAt{x, next}] = at
		return at, err
	case opToken:
		return c.put(instruction{code: doToken, arg: x.token, next: next})
	case opSeq:
		var err error
		for _, k := range slices.Backward(x.kids) {
			if next, err = c.emit(k, next); err != nil {
				return 0, err
			}
		}
		return next, nil
	case opChoice:
		return c.choice(x.kids, next)
	case opRepeat:
		return c.repeat(x, next)
	}
	if x.rule.small() {
		return c.emit(x.rule.body, next)
	}
	return c.call(x.rule, next)
}

func (c *compiler) literal(s string, next int32) (int32, error) {
	var err error
	for i := len(s) - 1; i >= 0; i-- {
		next, err = c.put(instruction{code: doBytes, edges: []edge{{s[i], s[i], next}}})
		if err != nil {
			return 0, err
		}
	}
	return next, nil
}

// character emits the encodings of a set of characters as one automaton that no two ways lead
// through.
func (c *compiler) character(s regular.Set, next int32) (int32, error) {
	var edges []edge
	var failed error
	encodings(s, func(seq []byteRange) {
		to := next
		for i := len(seq) - 1; i > 0 && failed == nil; i-- {
			to, failed = c.put(instruction{
				code: doBytes, edges: []edge{{seq[i].lo, seq[i].hi, to}},
			})
		}
		edges = append(edges, edge{seq[0].lo, seq[0].hi, to})
	})
	if failed != nil {
		return 0, failed
	}
	return c.split(edges)
}

// split emits bytes for edges in ascending order that may share bytes: what shares one is merged.
func (c *compiler) split(edges []edge) (int32, error) {
	disjoint := true
	for i := 1; i < len(edges); i++ {
		disjoint = disjoint && edges[i].lo > edges[i-1].hi
	}
	if disjoint {
		return c.put(instruction{code: doBytes, edges: edges})
	}
	var out []edge
	for i := 0; i < len(edges); {
		j := i + 1
		for j < len(edges) && edges[j].lo == edges[i].lo && edges[j].hi == edges[i].hi {
			j++
		}
		e := edges[i]
		if j > i+1 {
			below := make([]edge, 0, j-i)
			for _, other := range edges[i:j] {
				below = append(below, c.code[other.to].edges...)
			}
			slices.SortStableFunc(below, func(a, b edge) int { return int(a.lo) - int(b.lo) })
			to, err := c.split(below)
			if err != nil {
				return 0, err
			}
			e.to = to
		}
		out = append(out, e)
		i = j
	}
	return c.put(instruction{code: doBytes, edges: out})
}

func (c *compiler) repeat(x *Expr, next int32) (int32, error) {
	body := x.kids[0]
	switch {
	case x.most == 0:
		return next, nil
	case x.least == 1 && x.most == 1:
		return c.emit(body, next)
	case x.least == 0 && x.most == 1:
		return c.choice([]*Expr{body, Seq()}, next)
	case x.least <= 1 && x.most == Unbounded:
		return c.loop(body, x.least, next)
	}
	enter, err := c.put(instruction{
		code: doRepeat, next: next, least: int32(x.least), most: int32(x.most),
	})
	if err != nil {
		return 0, err
	}
	again, err := c.put(instruction{code: doAgain, next: enter})
	if err != nil {
		return 0, err
	}
	first, err := c.emit(body, again)
	if err != nil {
		return 0, err
	}
	c.code[enter].arg = first
	c.mark(body, again)
	return enter, nil
}

// loop emits body any number of times, at least once if least says so.
func (c *compiler) loop(body *Expr, least int, next int32) (int32, error) {
	branch, err := c.put(instruction{code: doBranch})
	if err != nil {
		return 0, err
	}
	first, err := c.emit(body, branch)
	if err != nil {
		return 0, err
	}
	c.code[branch].outs = []int32{first, next}
	c.mark(body, branch)
	if least == 1 {
		return first, nil
	}
	return branch, nil
}

// mark tells the characters that are all of a repetition's body, or all of a branch of it, that
// they are. They were emitted to lead to back.
func (c *compiler) mark(body *Expr, back int32) {
	if body.op == opRef && body.rule.small() {
		body = body.rule.body
	}
	sets := []*Expr{body}
	if body.op == opChoice {
		sets = body.kids
	}
	for _, x := range sets {
		if x.op != opChars {
			continue
		}
		if set := c.runSet(x.chars); set != nil {
			at := c.chars[charsAt{x, back}]
			c.code[at].run, c.code[at].back = set, back
			most := Unbounded
			if c.code[back].code == doAgain {
				most = int(c.code[c.code[back].next].most)
			}
			c.runBytes += c.vocab.prepare(set, most)
		}
	}
}

// runSet returns what the vocabulary knows of a set, or nil: the set is small, or the grammar has
// enough of others.
func (c *compiler) runSet(chars regular.Set) *runSet {
	key := string([]rune(chars))
	set, known := c.runs[key]
	if !known && len(c.runs) < maxOwnSets {
		if set = c.vocab.runSet(chars); set != nil {
			c.runs[key] = set
		}
	}
	return set
}

func (c *compiler) call(r *Rule, next int32) (int32, error) {
	i, ok := c.index[r]
	if !ok {
		i = int32(len(c.pending))
		c.index[r] = i
		c.pending = append(c.pending, r)
		c.rules = append(c.rules, -1)
		c.names = append(c.names, r.name)
	}
	return c.put(instruction{code: doCall, arg: i, next: next})
}
