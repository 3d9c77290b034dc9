package grammar

// maxSearch bounds the search for the tokens that may follow a state: nodes of the vocabulary, each
// with the work to get there. Only grammars that can be read in hundreds of ways reach it; what is
// not found by then is not allowed, but for single bytes. Each time that a text gets there it has
// half as much from then on, down to minSearch, so that no request holds others up for long.
const (
	maxSearch = 1 << 19
	minSearch = 1 << 12
)

// mask is the tokens that may follow a state, however long the text may become.
type mask struct {
	base []uint64 // a run's, shared; nil: none
	// extra holds the others, by their ids or, where those are many, as bits with the base.
	extra []int32
	bits  []uint64
	// need is how many tokens must be left, this one included, so that all of them can be
	// completed.
	need int32
	work int // that finding them took
}

// search finds tokens that may follow a state.
type search struct {
	g    *Grammar
	path []int32 // states by depth
	ids  []int32 // the tokens
	need int32   // the most tokens that one of them needs, itself included
	left int32   // only tokens that need no more are taken
	work int
	over bool // the search was given up
	most int  // work that may be done
}

// take marks a token that needs so many tokens.
func (f *search) take(token, need int32) {
	if need > f.left {
		return
	}
	f.ids = append(f.ids, token)
	f.need = max(f.need, need)
}

// walk takes the tokens of t that may follow state id.
func (f *search) walk(t *trie, id int32) {
	s := f.g.states
	f.path = append(f.path[:0], id)
	for node := 0; node < len(t.label); {
		depth := int(t.depth[node])
		above := f.path[depth-1]
		at := int(above)*s.classes + int(s.class[t.label[node]])
		to := s.next[at]
		if to == unknown {
			to = s.step(above, t.label[node])
		}
		if f.work += 1 + int(s.cost[at]); f.work > f.most {
			f.over = true
			f.singles(id)
			return
		}
		if to == dead {
			node = int(t.end[node])
			continue
		}
		x := s.list[to]
		if f.left < far && x.need-int32(t.height[node]) >= f.left {
			node = int(t.end[node]) // whatever follows is too far from the end
			continue
		}
		f.path = append(f.path[:depth], to)
		if t.token[node] >= 0 {
			need := plus(x.need, 1)
			t.tokens(node, func(id int32) { f.take(id, need) })
		}
		node++
	}
}

// singles takes the tokens of single bytes.
func (f *search) singles(id int32) {
	s := f.g.states
	for b := range 256 {
		token := f.g.vocab.single[b]
		if token < 0 {
			continue
		}
		if to := s.step(id, byte(b)); to != dead {
			f.take(token, plus(s.list[to].need, 1))
		}
	}
}

// tokens takes the control tokens that may follow state id.
func (f *search) tokens(id int32) {
	s := f.g.states
	for _, c := range s.list[id].configs {
		i := &s.p.code[c.at]
		if i.code != doToken || s.least[c.at] == never {
			continue
		}
		if to := s.token(id, i.arg); to != dead {
			f.take(i.arg, plus(s.list[to].need, 1))
		}
	}
}

// run returns the run of most tokens that a configuration of state id is in, and how many tokens
// each of them needs at most.
func (g *Grammar) run(id int32) (best *run, need int32) {
	s := g.states
	for _, c := range s.list[id].configs {
		i := &s.p.code[c.at]
		if i.run == nil {
			continue
		}
		r, made := g.vocab.run(i.run, s.room(c))
		g.runBytes += made
		if r != nil && (best == nil || r.count > best.count) {
			best, need = r, s.length(c)
		}
	}
	return best, need
}

// room returns how many characters of its repetition a configuration may take.
func (s *states) room(c config) int {
	if s.p.code[s.p.code[c.at].back].code != doAgain {
		return Unbounded
	}
	f := s.frames[c.stack]
	if most := s.p.code[f.at].most; most != Unbounded {
		return int(most - f.turn + 1)
	}
	return Unbounded
}

// explore finds what may follow state id, of tokens that need no more than left, with no more work
// than most. The ids are valid until the next search.
func (g *Grammar) explore(id, left int32, most int) (base *run, found *search) {
	f := &g.search
	f.g, f.ids, f.need, f.left, f.work, f.over, f.most = g, f.ids[:0], 0, left, 0, false, most
	base, need := g.run(id)
	t := g.vocab.whole
	if base != nil && need <= left {
		t, f.need = base.rest, need
	} else {
		base = nil
	}
	f.tokens(id)
	f.walk(t, id)
	return base, f
}

// keep makes a search's result the mask of state id in a text of any length.
func (g *Grammar) keep(id int32, base *run, f *search) *mask {
	m := &mask{need: f.need, work: f.work}
	if base != nil {
		m.base = base.allowed
	}
	if words := g.vocab.Words(); len(f.ids) > 2*words {
		m.bits = make([]uint64, words)
		copy(m.bits, m.base)
		mark64(m.bits, f.ids)
		m.base = nil
		g.states.bytes += 8 * words
	} else {
		m.extra = append(make([]int32, 0, len(f.ids)), f.ids...)
		g.states.bytes += 4 * len(f.ids)
	}
	g.states.list[id].mask = m
	return m
}

func mark64(bits []uint64, ids []int32) {
	for _, id := range ids {
		bits[id/64] |= 1 << (id % 64)
	}
}

// fill writes a mask to allowed, whose other bits become zero.
func (m *mask) fill(allowed []uint64) {
	n := 0
	switch {
	case m.bits != nil:
		n = copy(allowed, m.bits)
	case m.base != nil:
		n = copy(allowed, m.base)
	}
	clear(allowed[n:])
	mark64(allowed, m.extra)
}
