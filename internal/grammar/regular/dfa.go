package regular

import (
	"encoding/binary"
	"errors"
	"slices"
)

// ErrTooLarge says that an automaton would have more states than are made.
var ErrTooLarge = errors.New("the combination of patterns and lengths is too large")

// Sizes of automata: those of patterns that people write have tens of states.
const (
	maxPositions = 20_000 // characters of an expression with its counts written out
	maxStates    = 16_384
	maxAtoms     = 1_024
	// maxWork bounds the positions that all states together stand for, maxSetWork the ranges
	// that are looked at to tell characters apart.
	maxWork    = 1 << 21
	maxSetWork = 1 << 22
	// maxWordLength bounds the words that are listed.
	maxWordLength = 512
)

// DFA is a deterministic automaton over characters; it starts in state 0.
type DFA struct {
	atoms  []Set     // disjoint; a character in none of them leads nowhere
	next   [][]int32 // by state and atom; -1: nowhere
	accept []bool
	work   int // see Work
}

// Work returns about how many steps it took to make the automaton, which may be many more than it
// has states.
func (d *DFA) Work() int { return d.work }

// States counts the states.
func (d *DFA) States() int { return len(d.next) }

// Accepts reports whether a text may end in a state.
func (d *DFA) Accepts(state int) bool { return d.accept[state] }

// Edges calls f for every state that a character leads to, with all characters that do, in
// ascending order of their first character's atom.
func (d *DFA) Edges(state int, f func(on Set, to int)) {
	var targets []int32
	on := map[int32]Set{}
	for i, to := range d.next[state] {
		if to < 0 {
			continue
		}
		if _, ok := on[to]; !ok {
			targets = append(targets, to)
		}
		on[to] = append(on[to], d.atoms[i]...)
	}
	for _, to := range targets {
		f(Of(on[to]...), int(to))
	}
}

// Match reports whether the automaton takes the whole of s.
func (d *DFA) Match(s string) bool {
	state := int32(0)
	for _, c := range s {
		to := int32(-1)
		for i, atom := range d.atoms {
			if atom.Has(c) {
				to = d.next[state][i]
				break
			}
		}
		if to < 0 {
			return false
		}
		state = to
	}
	return d.accept[state]
}

// Empty reports whether the automaton takes no text at all.
func (d *DFA) Empty() bool {
	for _, a := range d.accept {
		if a {
			return false // automata are trimmed
		}
	}
	return true
}

// Table returns an automaton by its table: next by state and atom, -1 where nothing follows. It
// takes over what it is given.
func Table(atoms []Set, next [][]int32, accept []bool) *DFA {
	d := &DFA{atoms: atoms, next: next, accept: accept}
	d.trim()
	return d
}

// Words returns the texts that the automaton takes, in order, if they are no more than most.
func (d *DFA) Words(most int) (words []string, few bool) {
	open := make([]bool, len(d.next))
	var visit func(state int32, text []rune) bool
	visit = func(state int32, text []rune) bool {
		if open[state] || len(text) > maxWordLength {
			return false // a loop: states lead to an end, so there is no last word
		}
		open[state] = true
		defer func() { open[state] = false }()
		if d.accept[state] {
			if len(words) == most {
				return false
			}
			words = append(words, string(text))
		}
		for i, to := range d.next[state] {
			if to < 0 {
				continue
			}
			if d.atoms[i].Size() > most {
				return false
			}
			for pairs := d.atoms[i]; len(pairs) > 0; pairs = pairs[2:] {
				for c := pairs[0]; c <= pairs[1]; c++ {
					if !visit(to, append(text[:len(text):len(text)], c)) {
						return false
					}
				}
			}
		}
		return true
	}
	few = visit(0, nil)
	slices.Sort(words)
	return words, few
}

// Everything returns the automaton of all texts.
func Everything() *DFA { return Length(0, Unbounded) }

// Nothing returns the automaton of no text at all.
func Nothing() *DFA { return &DFA{next: [][]int32{nil}, accept: []bool{false}} }

// Length returns the automaton of texts of least to most characters; most may be Unbounded. The
// bounds are limited by the size of automata.
func Length(least, most int) *DFA {
	if most != Unbounded && most < least {
		return Nothing()
	}
	n := max(least, most)
	d := &DFA{atoms: []Set{Any()}}
	for i := range n + 1 {
		to := int32(i + 1)
		if i == n {
			to = -1
			if most == Unbounded {
				to = int32(i)
			}
		}
		d.next = append(d.next, []int32{to})
		d.accept = append(d.accept, i >= least)
	}
	return d
}

// LengthFits reports whether Length makes an automaton of bounds so large.
func LengthFits(least, most int) bool { return max(least, most) < maxStates }

// And returns the automaton of texts that both take.
func (d *DFA) And(e *DFA) (*DFA, error) {
	return product(d, e, func(x, y bool) bool { return x && y })
}

// Minus returns the automaton of texts that d takes and e does not.
func (d *DFA) Minus(e *DFA) (*DFA, error) {
	return product(d, e, func(x, y bool) bool { return x && !y })
}

// pair is a state of a product; -1 is the state that nothing leaves.
type pair struct{ x, y int32 }

func product(d, e *DFA, keep func(x, y bool) bool) (*DFA, error) {
	atoms, split, err := refine(d.atoms, e.atoms)
	if err != nil {
		return nil, err
	}
	out := &DFA{atoms: atoms}
	ids := map[pair]int32{{0, 0}: 0}
	todo := []pair{{0, 0}}
	for n := 0; n < len(todo); n++ {
		at := todo[n]
		row := make([]int32, len(atoms))
		for i, s := range split {
			to := pair{step(d, at.x, s.x), step(e, at.y, s.y)}
			if row[i] = -1; to.x < 0 {
				continue // keep is false wherever d takes nothing
			}
			id, ok := ids[to]
			if !ok {
				if id = int32(len(todo)); id == maxStates {
					return nil, ErrTooLarge
				}
				ids[to] = id
				todo = append(todo, to)
			}
			row[i] = id
		}
		out.next = append(out.next, row)
		out.accept = append(out.accept, keep(accepts(d, at.x), accepts(e, at.y)))
	}
	out.work = len(out.next) * len(atoms)
	out.trim()
	return out, nil
}

func step(d *DFA, state, atom int32) int32 {
	if state < 0 || atom < 0 {
		return -1
	}
	return d.next[state][atom]
}

func accepts(d *DFA, state int32) bool { return state >= 0 && d.accept[state] }

// refine returns the atoms of two automata together, and for each which atom of either it is part
// of, or -1.
func refine(a, b []Set) (atoms []Set, from []pair, err error) {
	rest := func(s Set, of []Set) Set {
		for _, t := range of {
			s = s.Minus(t)
		}
		return s
	}
	put := func(s Set, x, y int) {
		if !s.Empty() {
			atoms, from = append(atoms, s), append(from, pair{int32(x), int32(y)})
		}
	}
	work := 0
	for i, s := range a {
		for j, t := range b {
			put(s.And(t), i, j)
			work += len(s) + len(t)
		}
		put(rest(s, b), i, -1)
		if len(atoms) > maxAtoms || work > maxSetWork {
			return nil, nil, ErrTooLarge
		}
	}
	for j, t := range b {
		put(rest(t, a), -1, j)
	}
	return atoms, from, nil
}

// trim takes away what leads to no accepting state; state 0 stays.
func (d *DFA) trim() {
	back := make([][]int32, len(d.next))
	for s, row := range d.next {
		for _, to := range row {
			if to >= 0 {
				back[to] = append(back[to], int32(s))
			}
		}
	}
	alive := make([]bool, len(d.next))
	var todo []int32
	for s, a := range d.accept {
		if a {
			alive[s] = true
			todo = append(todo, int32(s))
		}
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, from := range back[s] {
			if !alive[from] {
				alive[from] = true
				todo = append(todo, from)
			}
		}
	}
	alive[0] = true
	ids := make([]int32, len(d.next))
	n := int32(0)
	for s := range ids {
		if ids[s] = -1; alive[s] {
			ids[s] = n
			d.next[n], d.accept[n] = d.next[s], d.accept[s]
			n++
		}
	}
	d.next, d.accept = d.next[:n], d.accept[:n]
	for _, row := range d.next {
		for i, to := range row {
			if to >= 0 {
				row[i] = ids[to]
			}
		}
	}
}

// key returns a map key for a sorted list of positions.
func key(list []int32) string {
	b := make([]byte, 0, 4*len(list))
	for _, x := range list {
		b = binary.LittleEndian.AppendUint32(b, uint32(x))
	}
	return string(b)
}
