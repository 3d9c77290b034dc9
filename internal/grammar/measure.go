package grammar

import (
	"container/heap"
	"errors"
	"fmt"
	"math"
)

// ErrNothing says that no text at all matches a grammar.
var ErrNothing = errors.New("nothing can match")

// Lengths are in tokens, where every byte is one: at most so many tokens are needed.
const (
	never = math.MaxInt32     // no text leads to the end
	far   = math.MaxInt32 - 1 // more than any budget
)

func plus(a, b int32) int32 {
	switch sum := int64(a) + int64(b); {
	case a == never || b == never:
		return never
	case sum > far:
		return far
	default:
		return int32(sum)
	}
}

func times(n, a int32) int32 {
	switch product := int64(n) * int64(a); {
	case n == 0:
		return 0
	case a == never:
		return never
	case product > far:
		return far
	default:
		return int32(product)
	}
}

// measured is what is settled of a program's lengths.
type measured struct {
	p     *program
	vocab *Vocabulary
	least []int32   // by instruction, to the end of its rule, repetition or text
	users [][]int32 // by instruction: whose length depends on it
	queue lengthQueue
	done  []bool
}

// measure returns for every instruction the length of the shortest text from there to the end of
// its rule, of its repetition's body or of all. Bytes that have no token of their own, and tokens
// that the vocabulary lacks, cannot be said. It is Knuth's generalisation of Dijkstra's algorithm.
func (p *program) measure(v *Vocabulary) []int32 {
	m := &measured{p: p, vocab: v}
	n := len(p.code)
	m.least, m.done, m.users = make([]int32, n), make([]bool, n), make([][]int32, n)
	for at := range p.code {
		m.least[at] = never
		i := &p.code[at]
		use := func(of int32) { m.users[of] = append(m.users[of], int32(at)) }
		switch i.code {
		case doBytes:
			for _, e := range i.edges {
				use(e.to)
			}
		case doToken:
			use(i.next)
		case doBranch:
			for _, out := range i.outs {
				use(out)
			}
		case doCall:
			use(p.rules[i.arg])
			use(i.next)
		case doRepeat:
			use(i.arg)
			use(i.next)
		}
	}
	for at := range p.code {
		if c := p.code[at].code; c == doReturn || c == doAgain || c == doEnd {
			heap.Push(&m.queue, lengthOf{int32(at), 0})
		}
	}
	for m.queue.Len() > 0 {
		top := heap.Pop(&m.queue).(lengthOf)
		if m.done[top.at] {
			continue
		}
		m.done[top.at], m.least[top.at] = true, top.length
		for _, user := range m.users[top.at] {
			if length := m.length(user); !m.done[user] && length < never {
				heap.Push(&m.queue, lengthOf{user, length})
			}
		}
	}
	return m.least
}

// length returns the length of an instruction as far as what it leads to is settled.
func (m *measured) length(at int32) int32 {
	i := &m.p.code[at]
	best := int32(never)
	switch i.code {
	case doBytes:
		for _, e := range i.edges {
			if m.least[e.to] < best && m.sayable(e) {
				best = m.least[e.to]
			}
		}
		if i.mark == endsName {
			best = plus(best, spareName)
		}
		return plus(best, 1)
	case doToken:
		if int(i.arg) < m.vocab.size && i.arg >= 0 {
			return plus(m.least[i.next], 1)
		}
	case doBranch:
		for _, out := range i.outs {
			best = min(best, m.least[out])
		}
	case doCall:
		return plus(m.least[m.p.rules[i.arg]], m.least[i.next])
	case doRepeat:
		return plus(times(i.least, m.least[i.arg]), m.least[i.next])
	}
	return best
}

// sayable reports whether a byte of the edge has a token of its own.
func (m *measured) sayable(e edge) bool {
	for b := int(e.lo); b <= int(e.hi); b++ {
		if m.vocab.single[b] >= 0 {
			return true
		}
	}
	return false
}

// lengthOf is a length that an instruction may have.
type lengthOf struct{ at, length int32 }

// lengthQueue is a heap of them, the shortest first.
type lengthQueue []lengthOf

func (q lengthQueue) Len() int           { return len(q) }
func (q lengthQueue) Less(i, j int) bool { return q[i].length < q[j].length }
func (q lengthQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *lengthQueue) Push(x any)        { *q = append(*q, x.(lengthOf)) }
func (q *lengthQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// check refuses what could not be run: rules that are part of themselves before they have said
// anything, and counted repetitions of what may be empty, but for few.
func (p *program) check(least []int32) error {
	if least[p.start] == never {
		return ErrNothing
	}
	const few = 64
	for at := range p.code {
		i := &p.code[at]
		if i.code != doRepeat || least[i.arg] > 0 {
			continue
		}
		// Some of the repetitions may be empty, so fewer do.
		i.least = 0
		if i.most > few {
			return fmt.Errorf("%w: something that may be empty is repeated up to %d times, at most %d"+
				" are supported", ErrTooLarge, i.most, few)
		}
	}
	return p.checkRecursion(least)
}

// checkRecursion looks for rules that begin with themselves.
func (p *program) checkRecursion(least []int32) error {
	const (
		unseen = iota
		open
		closed
	)
	state := make([]uint8, len(p.rules))
	type visit struct {
		rule  int
		begin []int32 // rules that it may begin with
	}
	var path []visit
	enter := func(rule int) {
		state[rule] = open
		path = append(path, visit{rule, p.beginnings(p.rules[rule], least)})
	}
	for rule := range p.rules {
		if state[rule] == unseen {
			enter(rule)
		}
		for len(path) > 0 {
			top := &path[len(path)-1]
			if len(top.begin) == 0 {
				state[top.rule] = closed
				path = path[:len(path)-1]
				continue
			}
			to := top.begin[0]
			top.begin = top.begin[1:]
			switch state[to] {
			case open:
				return fmt.Errorf("the rule %s begins with itself: left recursion is not supported",
					p.names[to])
			case unseen:
				enter(int(to))
			}
		}
	}
	return nil
}

// beginnings returns the rules that may be called from at before anything is said.
func (p *program) beginnings(at int32, least []int32) []int32 {
	var rules []int32
	seen := map[int32]bool{}
	todo := []int32{at}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[at] || least[at] == never {
			continue
		}
		seen[at] = true
		switch i := &p.code[at]; i.code {
		case doBranch:
			todo = append(todo, i.outs...)
		case doCall:
			rules = append(rules, i.arg)
			if least[p.rules[i.arg]] == 0 {
				todo = append(todo, i.next)
			}
		case doRepeat:
			todo = append(todo, i.arg)
			if i.least == 0 {
				todo = append(todo, i.next)
			}
		case doAgain:
			todo = append(todo, p.code[i.next].arg, p.code[i.next].next)
		}
	}
	return rules
}
