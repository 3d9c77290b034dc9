package grammar

import "slices"

// Matcher follows one text through a grammar. It belongs to one goroutine at a time.
type Matcher struct {
	g      *Grammar
	states *states // that at belongs to
	at     int32
	budget int // of the next search

	json    reader // of objects whose names are remembered
	scratch []byte
}

// Clone returns a matcher at the same place.
func (m *Matcher) Clone() *Matcher {
	c := *m
	c.json.name, c.scratch = slices.Clone(m.json.name), nil
	return &c
}

// enter locks the grammar and moves the matcher to its states of now.
func (m *Matcher) enter() {
	m.g.mu.Lock()
	if m.g.states.bytes > maxStateBytes {
		m.g.forget()
	}
	if m.states != m.g.states {
		m.at = m.g.states.adopt(m.states, m.at)
		m.states = m.g.states
	}
}

func (m *Matcher) leave() {
	m.g.account()
	m.g.mu.Unlock()
}

// Mask sets bit i%64 of allowed[i/64] for every token i that may come next, and clears all others.
// Those are the tokens that Accept takes, but for such as would give a JSON object a name twice.
// left is the number of tokens that the text may still have, this one included: tokens after which
// it could not be completed in time are not allowed. Where the text cannot be completed in any
// case, left has no effect. allowed has at least Words elements of the vocabulary.
func (m *Matcher) Mask(allowed []uint64, left int) {
	m.enter()
	defer m.leave()
	m.mask(allowed, left)
	m.dropTwice(allowed)
}

// mask does what Mask does, but for names that come twice.
func (m *Matcher) mask(allowed []uint64, left int) {
	g := m.g
	bound := int32(max(0, min(left, far)))
	if g.states.list[m.at].need > bound {
		bound = far
	}
	x := g.states.list[m.at]
	if x.mask != nil && x.mask.work <= m.budget && (x.mask.need <= bound || bound == far) {
		x.mask.fill(allowed)
		return
	}
	if x.mask == nil {
		base, found := g.explore(m.at, far, m.budget)
		if !found.over {
			all := g.keep(m.at, base, found)
			if all.need <= bound || bound == far {
				all.fill(allowed)
				return
			}
		} else if bound == far {
			m.fill(allowed, base, found)
			return
		}
	}
	base, found := g.explore(m.at, bound, m.budget)
	m.fill(allowed, base, found)
}

// fill writes the result of a search that was for this place alone.
func (m *Matcher) fill(allowed []uint64, base *run, found *search) {
	n := 0
	if base != nil {
		n = copy(allowed, base.allowed)
	}
	clear(allowed[n:])
	mark64(allowed, found.ids)
	if found.over {
		m.budget = max(m.budget/2, minSearch)
	}
}

// Accept takes a token. It returns false if the token cannot follow; the text is then as before.
func (m *Matcher) Accept(token int32) bool {
	m.enter()
	defer m.leave()
	if token < 0 || int(token) >= m.g.vocab.size {
		return false
	}
	if to := m.g.states.token(m.at, token); to != dead {
		m.at, m.json = to, reader{}
		return true
	}
	text := m.g.vocab.text(token)
	if len(text) == 0 || len(text) > maxTokenBytes {
		return false
	}
	to := m.g.states.text(m.at, text)
	if to == dead {
		if to = m.g.alongRun(m.at, text); to == dead {
			return false
		}
	}
	if m.g.program.named {
		m.json.follow(m.states, m.at, text)
	}
	m.at = to
	return true
}

// alongRun returns the state behind a text that is part of a run. States that are too large to be
// whole may have lost the configuration that takes it.
func (g *Grammar) alongRun(id int32, text []byte) int32 {
	s := g.states
	for _, c := range s.list[id].configs {
		i := &s.p.code[c.at]
		if i.run == nil {
			continue
		}
		n := i.run.length(text)
		if room := s.room(c); n == 0 || room != Unbounded && n > room {
			continue
		}
		if s.p.code[i.back].code == doAgain {
			c.stack = s.push(s.turn(s.frames[c.stack], int32(n)-1))
		}
		s.closure([]config{{i.back, c.stack}})
		return s.intern()
	}
	return dead
}

// MayEnd reports whether the text is complete.
func (m *Matcher) MayEnd() bool { return m.here().ends }

// MustEnd reports whether nothing can follow.
func (m *Matcher) MustEnd() bool { return !m.here().takes }

// Shortest returns how many tokens are enough to complete the text.
func (m *Matcher) Shortest() int { return int(m.here().need) }

func (m *Matcher) here() *state {
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	return m.states.list[m.at]
}
