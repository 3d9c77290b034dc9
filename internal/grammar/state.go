package grammar

import (
	"encoding/binary"
	"slices"
)

// A state is where a text may stand in a grammar: a list of configurations, each an instruction and
// a stack of what is to be returned to. States are made as texts lead to them; what leads from one
// to another, and which tokens may come next, is computed once for each.

// Bounds of states. Beyond them the last configurations are left out: a text that only those could
// complete is then not generated, but every text that is can be completed.
const (
	maxConfigs = 1_024
	maxClosure = 8_192 // instructions looked at between two bytes
)

// frame is an entry of a stack: a return address, if turn is 0, or a counted repetition in the
// turn-th turn of its body. Frames are numbered so that equal stacks have one number.
type frame struct {
	at, turn, below int32
}

// config is an instruction that takes a byte or a token, or ends the text, and its stack.
type config struct{ at, stack int32 }

// state holds what is known of a list of configurations.
type state struct {
	configs []config
	need    int32 // the shortest text to the end; in a name without what is spare for it
	ends    bool  // the text may be complete
	takes   bool  // something may follow
	mask    *mask
}

// The first states; others follow.
const (
	unknown int32 = iota // not computed yet
	dead                 // nothing leads on
	initial
)

// states is the automaton as far as it has been explored. The Grammar's lock guards it.
type states struct {
	p       *program
	least   []int32 // by instruction
	class   *[256]uint8
	classes int

	frames   []frame
	lengths  []int32 // by frame, from its return to the end
	frameIDs map[frame]int32
	list     []*state
	ids      map[string]int32
	next     []int32  // by state and class of bytes
	cost     []uint16 // likewise: the instructions that were looked at, in sixteens

	// Scratch space.
	from    []config
	work    []config
	found   []config
	visited map[config]struct{}
	key     []byte
	bytes   int // about what all this takes
}

// newStates explores p from its start.
func newStates(p *program, least []int32, class *[256]uint8, classes int) *states {
	s := &states{
		p: p, least: least, class: class, classes: classes,
		frames: []frame{{}}, lengths: []int32{0}, frameIDs: map[frame]int32{},
		ids: map[string]int32{}, visited: map[config]struct{}{},
	}
	s.list = []*state{nil, {need: never}}
	s.next, s.cost = make([]int32, 2*classes), make([]uint16, 2*classes)
	for i := range s.next {
		s.next[i] = dead
	}
	s.closure([]config{{at: p.start}})
	s.intern()
	return s
}

// push returns the stack of f upon f.below.
func (s *states) push(f frame) int32 {
	if id, ok := s.frameIDs[f]; ok {
		return id
	}
	id := int32(len(s.frames))
	s.frameIDs[f] = id
	s.frames = append(s.frames, f)
	var length int32
	if i := &s.p.code[f.at]; f.turn > 0 {
		length = plus(times(max(i.least-f.turn, 0), s.least[i.arg]), s.least[i.next])
	} else {
		length = s.least[f.at]
	}
	s.lengths = append(s.lengths, plus(length, s.lengths[f.below]))
	s.bytes += 64
	return id
}

// turn returns a repetition's frame so many turns later. Without a bound, those behind the least
// are the same.
func (s *states) turn(f frame, n int32) frame {
	f.turn += n
	if i := &s.p.code[f.at]; i.most == Unbounded {
		f.turn = min(f.turn, max(i.least, 1))
	}
	return f
}

// length returns the length of the shortest text from a configuration to the end.
func (s *states) length(c config) int32 { return plus(s.least[c.at], s.lengths[c.stack]) }

// closure fills found with the configurations that from leads to without saying anything.
func (s *states) closure(from []config) {
	s.found = s.found[:0]
	clear(s.visited)
	s.work = append(s.work[:0], from...)
	slices.Reverse(s.work)
	for len(s.work) > 0 && len(s.visited) < maxClosure && len(s.found) < maxConfigs {
		c := s.work[len(s.work)-1]
		s.work = s.work[:len(s.work)-1]
		if s.least[c.at] == never {
			continue
		}
		if _, ok := s.visited[c]; ok {
			continue
		}
		s.visited[c] = struct{}{}
		s.expand(c)
	}
}

// expand adds c to found, or what it leads to to the work, the first on top.
func (s *states) expand(c config) {
	add := func(at, stack int32) { s.work = append(s.work, config{at, stack}) }
	i := &s.p.code[c.at]
	switch i.code {
	case doBytes, doToken, doEnd:
		s.found = append(s.found, c)
	case doBranch:
		for _, out := range slices.Backward(i.outs) {
			add(out, c.stack)
		}
	case doCall:
		stack := c.stack
		if s.p.code[i.next].code != doReturn { // what returns to a return returns from there
			stack = s.push(frame{at: i.next, below: stack})
		}
		add(s.p.rules[i.arg], stack)
	case doReturn:
		f := s.frames[c.stack]
		add(f.at, f.below)
	case doRepeat:
		if i.least == 0 {
			add(i.next, c.stack)
		}
		add(i.arg, s.push(frame{c.at, 1, c.stack}))
	case doAgain:
		f := s.frames[c.stack]
		i := &s.p.code[f.at]
		if f.turn >= i.least {
			add(i.next, f.below)
		}
		if i.most == Unbounded || f.turn < i.most {
			add(i.arg, s.push(s.turn(f, 1)))
		}
	}
}

// intern returns the state of the configurations found.
func (s *states) intern() int32 {
	if len(s.found) == 0 {
		return dead
	}
	s.key = s.key[:0]
	for _, c := range s.found {
		s.key = binary.LittleEndian.AppendUint32(s.key, uint32(c.at))
		s.key = binary.LittleEndian.AppendUint32(s.key, uint32(c.stack))
	}
	if id, ok := s.ids[string(s.key)]; ok {
		return id
	}
	x := &state{configs: slices.Clone(s.found), need: never}
	for _, c := range x.configs {
		length := s.length(c)
		if m := s.p.code[c.at].mark; m == inName || m == endsName {
			length -= spareName
		}
		x.need = min(x.need, length)
		if s.p.code[c.at].code == doEnd {
			x.ends = true
		} else {
			x.takes = true
		}
	}
	id := int32(len(s.list))
	s.ids[string(s.key)] = id
	s.list = append(s.list, x)
	s.next = append(s.next, make([]int32, s.classes)...)
	s.cost = append(s.cost, make([]uint16, s.classes)...)
	s.bytes += 200 + 16*len(x.configs) + 6*s.classes
	return id
}

// step returns the state behind a byte.
func (s *states) step(id int32, b byte) int32 {
	at := int(id)*s.classes + int(s.class[b])
	if to := s.next[at]; to != unknown {
		return to
	}
	from := s.from[:0]
	for _, c := range s.list[id].configs {
		i := &s.p.code[c.at]
		if i.code != doBytes {
			continue
		}
		for _, e := range i.edges {
			if b < e.lo {
				break
			}
			if b <= e.hi {
				from = append(from, config{e.to, c.stack})
				break
			}
		}
	}
	s.from = from
	s.closure(from)
	to := s.intern()
	s.next[at], s.cost[at] = to, uint16(len(s.visited)/16)
	return to
}

// token returns the state behind a control token.
func (s *states) token(id, token int32) int32 {
	var from []config
	for _, c := range s.list[id].configs {
		if i := &s.p.code[c.at]; i.code == doToken && i.arg == token {
			from = append(from, config{i.next, c.stack})
		}
	}
	if len(from) == 0 {
		return dead
	}
	s.closure(from)
	return s.intern()
}

// text returns the state behind the bytes of a token.
func (s *states) text(id int32, text []byte) int32 {
	for _, b := range text {
		if id = s.step(id, b); id == dead {
			return dead
		}
	}
	return id
}

// adopt returns the state of s that has the configurations of one of old.
func (s *states) adopt(old *states, id int32) int32 {
	stacks := map[int32]int32{0: 0}
	var found []config
	for _, c := range old.list[id].configs {
		var above []int32
		stack := c.stack
		for ; stack != 0; stack = old.frames[stack].below {
			if _, ok := stacks[stack]; ok {
				break
			}
			above = append(above, stack)
		}
		to := stacks[stack]
		for _, x := range slices.Backward(above) {
			f := old.frames[x]
			f.below = to
			to = s.push(f)
			stacks[x] = to
		}
		found = append(found, config{c.at, to})
	}
	s.found = append(s.found[:0], found...)
	return s.intern()
}

// byteClasses tells bytes apart that some instruction does.
func (p *program) byteClasses() (class *[256]uint8, n int) {
	var border [257]bool
	for at := range p.code {
		for _, e := range p.code[at].edges {
			border[e.lo], border[int(e.hi)+1] = true, true
		}
	}
	class = new([256]uint8)
	for b := 1; b < 256; b++ {
		if border[b] {
			n++
		}
		class[b] = uint8(n)
	}
	return class, n + 1
}
