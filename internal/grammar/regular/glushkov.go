package regular

import "slices"

// positions is an expression as Glushkov's automaton: its characters, and which may follow which.
type positions struct {
	sets   []Set
	follow [][]int32
	work   int // entries of follow
}

// ends is a part of an expression: where it may begin and end, and whether it may be empty.
type ends struct {
	first, last []int32
	nullable    bool
}

// DFA returns the automaton of the texts that n, which has no anchors, matches from end to end.
func (n *Node) DFA() (*DFA, error) {
	p := &positions{}
	whole, err := p.add(n)
	if err != nil {
		return nil, err
	}
	atoms, held, kinds, err := atomise(p.sets)
	if err != nil {
		return nil, err
	}
	d := &DFA{atoms: atoms}
	last := make([]bool, len(p.sets))
	for _, x := range whole.last {
		last[x] = true
	}
	// A state is what may come next; its last entry says, as -1, that the text may end here.
	start := slices.Clone(whole.first)
	slices.Sort(start)
	if whole.nullable {
		start = append(start, -1)
	}
	ids := map[string]int32{key(start): 0}
	todo := [][]int32{start}
	work := 0
	for i := 0; i < len(todo); i++ {
		at := todo[i]
		accept := len(at) > 0 && at[len(at)-1] < 0
		if accept {
			at = at[:len(at)-1]
		}
		row := make([]int32, len(atoms))
		for a := range atoms {
			to := p.after(at, held[a], kinds, last)
			work += len(at)/8 + len(to) + 1
			if row[a] = -1; len(to) == 0 {
				continue
			}
			id, ok := ids[key(to)]
			if !ok {
				if id = int32(len(todo)); id == maxStates || work > maxWork {
					return nil, ErrTooLarge
				}
				ids[key(to)] = id
				todo = append(todo, to)
			}
			row[a] = id
		}
		d.next, d.accept = append(d.next, row), append(d.accept, accept)
	}
	d.work = p.work + work
	d.trim()
	return d, nil
}

// after returns the state behind a character of an atom, which sets of the kinds held have.
func (p *positions) after(at []int32, held []bool, kinds []int32, last []bool) []int32 {
	var to []int32
	end := false
	for _, x := range at {
		if held[kinds[x]] {
			to = append(to, p.follow[x]...)
			end = end || last[x]
		}
	}
	slices.Sort(to)
	to = slices.Compact(to)
	if end {
		to = append(to, -1)
	}
	return to
}

// add takes in n and returns its ends.
func (p *positions) add(n *Node) (ends, error) {
	switch n.Op {
	case Chars:
		if n.Set.Empty() {
			return ends{}, nil
		}
		if len(p.sets) == maxPositions {
			return ends{}, ErrTooLarge
		}
		x := int32(len(p.sets))
		p.sets, p.follow = append(p.sets, n.Set), append(p.follow, nil)
		return ends{first: []int32{x}, last: []int32{x}}, nil
	case Cat:
		out := ends{nullable: true}
		for _, k := range n.Kids {
			e, err := p.add(k)
			if err == nil {
				out, err = p.join(out, e)
			}
			if err != nil {
				return ends{}, err
			}
		}
		return out, nil
	case Alt:
		var out ends
		for _, k := range n.Kids {
			e, err := p.add(k)
			if err != nil {
				return ends{}, err
			}
			out.first, out.last = append(out.first, e.first...), append(out.last, e.last...)
			out.nullable = out.nullable || e.nullable
		}
		return out, nil
	case Repeat:
		return p.repeat(n)
	}
	return ends{}, errAnchor
}

// join returns the ends of x and behind it y.
func (p *positions) join(x, y ends) (ends, error) {
	if err := p.connect(x.last, y.first); err != nil {
		return ends{}, err
	}
	out := ends{first: x.first, last: y.last, nullable: x.nullable && y.nullable}
	if x.nullable {
		out.first = slices.Concat(x.first, y.first)
	}
	if y.nullable {
		out.last = slices.Concat(x.last, y.last)
	}
	if p.work += len(out.first) + len(out.last); p.work > maxWork {
		return ends{}, ErrTooLarge
	}
	return out, nil
}

func (p *positions) connect(last, first []int32) error {
	if p.work += len(last) * len(first); p.work > maxWork {
		return ErrTooLarge
	}
	for _, x := range last {
		p.follow[x] = append(p.follow[x], first...)
	}
	return nil
}

// repeat writes the counts of a repetition out: those that must be one after the other, those that
// need not be each within the one before.
func (p *positions) repeat(n *Node) (ends, error) {
	out := ends{nullable: true}
	copies := max(n.Min, n.Max)
	if n.Max == Unbounded {
		copies = max(n.Min, 1)
	}
	var previous ends
	for i := range copies {
		before := len(p.sets)
		e, err := p.add(n.Kids[0])
		if err != nil {
			return ends{}, err
		}
		if len(p.sets) == before {
			out.nullable = out.nullable && (n.Min == 0 || e.nullable)
			return out, nil // the copies have no characters
		}
		if i+1 == copies && n.Max == Unbounded {
			if err := p.connect(e.last, e.first); err != nil {
				return ends{}, err
			}
		}
		switch {
		case i <= n.Min:
			e.nullable = e.nullable || i == n.Min
			out, err = p.join(out, e)
		default:
			err = p.connect(previous.last, e.first)
			out.last = append(out.last, e.last...)
		}
		if err != nil {
			return ends{}, err
		}
		previous = e
	}
	return out, nil
}

// atomise cuts characters into atoms that no set divides. kinds numbers the sets, equal ones alike,
// and held tells by atom and kind which sets hold an atom.
func atomise(sets []Set) (atoms []Set, held [][]bool, kinds []int32, err error) {
	index := map[string]int32{} // of distinct sets
	var distinct []Set
	kinds = make([]int32, len(sets))
	for i, s := range sets {
		k, ok := index[key(s)]
		if !ok {
			if k = int32(len(distinct)); k == maxAtoms {
				return nil, nil, nil, ErrTooLarge
			}
			index[key(s)] = k
			distinct = append(distinct, s)
		}
		kinds[i] = k
	}
	work := 0
	for k, s := range distinct {
		for i, n := 0, len(atoms); i < n && !s.Empty(); i++ {
			if work += len(s) + len(atoms[i]); work > maxSetWork {
				return nil, nil, nil, ErrTooLarge
			}
			common := atoms[i].And(s)
			if common.Empty() {
				continue
			}
			rest := atoms[i].Minus(s)
			if !rest.Empty() {
				atoms, held = append(atoms, rest), append(held, slices.Clone(held[i]))
			}
			atoms[i], held[i][k] = common, true
			s = s.Minus(common)
		}
		if !s.Empty() {
			only := make([]bool, len(distinct))
			only[k] = true
			atoms, held = append(atoms, s), append(held, only)
		}
		if len(atoms) > maxAtoms {
			return nil, nil, nil, ErrTooLarge
		}
	}
	return atoms, held, kinds, nil
}
