package shard

import (
	"cmp"
	"slices"
)

// search moves, swaps, adds and drops copies of one layer's experts, one change
// after the other, each of which takes time off the slowest worker. It takes a
// copy's part of its expert's reads to be in proportion to its worker's speed:
// what router does is better than that (split), but not much where this is good,
// and it is a sum. Under this rule an expert takes all of its holders the same
// time, which is its reads by the sum of their speeds.
type search struct {
	layerLoad
	zones     []int
	groupSize int   // experts that a group has; 0: there are none
	sets      []Set // by worker: what it is given
	held      []Set // by worker: what it has loaded; nil: loading costs nothing
	room      []int // by worker: how many more it takes
	copies    int   // that every expert is to have
	floor     int   // that every expert has, of these
	extra     int   // how many copies beyond those may be added

	cost   []float64 // by expert: the time that it takes each of its holders
	times  []float64 // by worker
	ranked [][]int   // by worker: its experts by cost, ascending
	delta  []float64 // by worker, of the change that is weighed
	hit    []int     // the workers that it concerns
}

// transfer takes an expert from one worker to another. -1 is nobody: nobody to
// take it from adds a copy, nobody to take it to drops one.
type transfer struct{ expert, from, to int }

// change is a transfer, and perhaps a second one, of another expert, which makes
// room for the first or fills the room that it leaves.
type change struct{ first, second transfer }

// alone is a change of one transfer.
func alone(e, from, to int) change { return change{transfer{e, from, to}, transfer{-1, -1, -1}} }

// leastGain is the part of the slowest worker's time below which a change is
// none.
const leastGain = 1e-6

// open makes the rest of a search that has its inputs.
func (s *search) open() {
	n := len(s.speed)
	s.holders = make([][]int, len(s.load))
	for w, set := range s.sets {
		s.sets[w] = set.Union(Set{}) // a copy: plans are immutable
		for _, e := range set.Experts() {
			s.holders[e] = append(s.holders[e], w)
		}
	}
	s.floor = s.copies
	for _, h := range s.holders {
		s.floor = min(s.floor, len(h))
		s.extra -= max(len(h)-s.copies, 0)
	}
	s.cost, s.times = make([]float64, len(s.load)), make([]float64, n)
	s.delta, s.ranked = make([]float64, n), make([][]int, n)
	s.measure()
}

// measure works out costs and times.
func (s *search) measure() {
	clear(s.times)
	for w := range s.ranked {
		s.ranked[w] = s.ranked[w][:0]
	}
	for e, holders := range s.holders {
		power := 0.0
		for _, w := range holders {
			power += s.speed[w]
		}
		s.cost[e] = s.load[e] / power
		for _, w := range holders {
			s.times[w] += s.cost[e]
			s.ranked[w] = append(s.ranked[w], e)
		}
	}
	for _, experts := range s.ranked {
		slices.SortFunc(experts, func(a, b int) int {
			return cmp.Or(cmp.Compare(s.cost[a], s.cost[b]), a-b)
		})
	}
}

// step makes the change that takes the most time off the slowest worker for what
// it loads, and reports whether there is one.
func (s *search) step() bool {
	slow := 0
	for w, t := range s.times {
		if t > s.times[slow] {
			slow = w
		}
	}
	limit := s.times[slow]
	best, bestScore := change{}, 0.0
	weigh := func(c change) {
		if !s.allowed(c) {
			return
		}
		gain := limit - s.after(c)
		if gain <= limit*leastGain {
			return
		}
		if score := gain * s.worth(c); score > bestScore {
			best, bestScore = c, score
		}
	}
	for _, offers := range []func(int, int, float64, func(change)){s.singles, s.pairs} {
		for _, e := range s.ranked[slow] {
			if s.load[e] > 0 {
				offers(e, slow, limit, weigh)
			}
		}
		if bestScore > 0 {
			break
		}
	}
	if bestScore == 0 {
		return false
	}
	s.apply(best)
	return true
}

// singles weighs what one transfer can do about an expert of the slowest worker.
func (s *search) singles(e, slow int, limit float64, weigh func(change)) {
	weigh(alone(e, slow, -1))
	for to := range s.sets {
		if s.room[to] > 0 && s.times[to] < limit && !s.sets[to].Has(e) {
			weigh(alone(e, slow, to))
			weigh(alone(e, -1, to))
		}
	}
}

// pairs weighs what two can do.
func (s *search) pairs(e, slow int, limit float64, weigh func(change)) {
	if len(s.holders[e]) > s.copies {
		for _, u := range s.holders[e] { // one that takes its part over gives something back
			for _, g := range s.ranked[u] {
				if u != slow {
					weigh(change{transfer{e, slow, -1}, transfer{g, u, slow}})
				}
			}
		}
	}
	for to := range s.sets {
		if s.times[to] >= limit || s.sets[to].Has(e) {
			continue
		}
		for _, g := range s.ranked[to] {
			if len(s.holders[g]) > s.floor && len(s.holders[g]) > 1 {
				weigh(change{transfer{e, -1, to}, transfer{g, to, -1}})
			}
		}
		s.swaps(e, slow, to, weigh)
	}
}

// near is how many experts on either side of the best size are tried for a swap.
const near = 3

// swaps weighs swapping an expert of the slowest worker for one of another: for
// those that come nearest to making the two take the same time.
func (s *search) swaps(e, slow, to int, weigh func(change)) {
	a, b := s.speed[slow], s.speed[to]
	give := (s.times[slow] - s.times[to]) * a * b / (a + b)
	want := (s.cost[e]*a - give) / b
	experts := s.ranked[to]
	at, _ := slices.BinarySearchFunc(experts, want, func(g int, want float64) int {
		return cmp.Compare(s.cost[g], want)
	})
	for i := max(at-near, 0); i < min(at+near, len(experts)); i++ {
		weigh(change{transfer{e, slow, to}, transfer{experts[i], to, slow}})
	}
}

// allowed reports whether a change keeps to memory, copies and zones. Room is
// for the caller to see to.
func (s *search) allowed(c change) bool {
	e, g := c.first, c.second
	switch {
	case e.to < 0: // a drop
		return s.droppable(e) && (g.expert < 0 || g.expert != e.expert && s.movable(g))
	case e.from >= 0: // a move, or a swap
		return s.movable(e) && (g.expert < 0 || s.movable(g))
	case g.expert < 0: // an addition
		return len(s.holders[e.expert]) < s.copies || s.extra > 0
	case s.droppable(g): // what was extra makes room
		return true
	}
	// Where not all can have their copies, the hot ones have them, in no fewer zones.
	count, gone := len(s.holders[e.expert]), len(s.holders[g.expert])
	return count < gone && gone > s.floor && gone <= s.copies &&
		s.zonesWith(e.expert, -1, e.to) > s.zonesWith(e.expert, -1, -1)
}

// movable reports whether a worker has not got an expert yet, and copies stay
// apart if it gets it.
func (s *search) movable(t transfer) bool {
	return !s.sets[t.to].Has(t.expert) && s.spreads(t)
}

// droppable reports whether an expert has copies enough without one.
func (s *search) droppable(t transfer) bool {
	return len(s.holders[t.expert]) > s.copies && s.spreads(t)
}

// spreads reports whether an expert is in as many zones as before, of those
// that it is to be in, after a transfer.
func (s *search) spreads(t transfer) bool {
	return s.zonesWith(t.expert, t.from, t.to) >= s.zonesWith(t.expert, -1, -1)
}

// zonesWith counts an expert's zones, up to the number of copies, without
// worker from and with worker to.
func (s *search) zonesWith(e, from, to int) int {
	holders, n := s.holders[e], 0
	for i := range len(holders) + 1 {
		w := to
		if i < len(holders) {
			w = holders[i]
		}
		if w < 0 || w == from {
			continue
		}
		seen := false
		for _, v := range holders[:min(i, len(holders))] {
			seen = seen || v != from && s.zones[v] == s.zones[w]
		}
		if !seen {
			n++
		}
	}
	return min(n, s.copies)
}

// after is the longest time of a worker that a change concerns.
func (s *search) after(c change) float64 {
	s.shift(c.first)
	if c.second.expert >= 0 {
		s.shift(c.second)
	}
	longest := 0.0
	for _, w := range s.hit {
		longest = max(longest, s.times[w]+s.delta[w])
	}
	for _, w := range s.hit {
		s.delta[w] = 0
	}
	s.hit = s.hit[:0]
	return longest
}

// shift adds to delta what a transfer changes.
func (s *search) shift(t transfer) {
	power := 0.0
	for _, w := range s.holders[t.expert] {
		if w != t.from {
			power += s.speed[w]
		}
	}
	if t.to >= 0 {
		power += s.speed[t.to]
		s.delta[t.to] += s.load[t.expert] / power
		s.hit = append(s.hit, t.to)
	}
	for _, w := range s.holders[t.expert] {
		s.hit = append(s.hit, w)
		s.delta[w] -= s.cost[t.expert]
		if w != t.from {
			s.delta[w] += s.load[t.expert] / power
		}
	}
}

// kin is how much more than another a change is worth that brings an expert to
// the whole rest of its group: enough to decide among equals.
const kin = 0.02

// worth is what a change's gain is multiplied by: more the less it loads, and a
// little more where experts come to others of their group, which tokens choose
// together.
func (s *search) worth(c change) float64 {
	loads, bonus := 0.5, 1.0 // what is loaded already is worth its place three times
	for _, t := range []transfer{c.first, c.second} {
		if t.to >= 0 && s.held != nil && !s.held[t.to].Has(t.expert) {
			loads++
		}
		if s.groupSize > 1 && t.expert >= 0 {
			if t.to >= 0 {
				bonus += s.kinship(t.expert, t.to)
			}
			if t.from >= 0 {
				bonus -= s.kinship(t.expert, t.from)
			}
		}
	}
	return bonus / loads
}

func (s *search) kinship(e, w int) float64 {
	return kin * float64(inGroup(s.sets[w], e, s.groupSize)) / float64(s.groupSize)
}

// inGroup counts the experts of a set that are of the group of expert e.
func inGroup(set Set, e, size int) int {
	n := 0
	for first, i := e/size*size, 0; i < size; i++ {
		if set.Has(first + i) {
			n++
		}
	}
	return n
}

func (s *search) apply(c change) {
	s.carry(c.first)
	if c.second.expert >= 0 {
		s.carry(c.second)
	}
	s.measure()
}

// carry carries out a transfer.
func (s *search) carry(t transfer) {
	e := t.expert
	s.extra += max(len(s.holders[e])-s.copies, 0)
	if t.from >= 0 {
		s.sets[t.from].Remove(e)
		s.room[t.from]++
		at, _ := slices.BinarySearch(s.holders[e], t.from)
		s.holders[e] = slices.Delete(s.holders[e], at, at+1)
	}
	if t.to >= 0 {
		s.sets[t.to].Add(e)
		s.room[t.to]--
		at, _ := slices.BinarySearch(s.holders[e], t.to)
		s.holders[e] = slices.Insert(s.holders[e], at, t.to)
	}
	s.extra -= max(len(s.holders[e])-s.copies, 0)
}

// loads counts the copies that are not where they are held.
func (s *search) loads() int {
	n := 0
	for w, set := range s.sets {
		if s.held != nil {
			n += set.Minus(s.held[w]).Len()
		}
	}
	return n
}

// placement returns the sets as they are now.
func (s *search) placement() []Set {
	out := make([]Set, len(s.sets))
	for w, set := range s.sets {
		out[w] = set.Union(Set{})
	}
	return out
}
