package shard

import "slices"

// placing gives the copies of one layer's experts to workers, of which each
// takes as many as its quota says.
type placing struct {
	zones  []int
	group  int   // experts that a group has; 0: there are none
	sets   []Set // by worker: what it has been given
	room   []int // by worker: how many more it takes
	copies []int // by expert: how many it has
	prev   []Set // by worker: what it had before
	each   int   // every expert gets at least so many copies
	more   int   // so many experts may get one beyond that
	marks  []int // by worker, in a search: the worker before it; -1: none yet
	moves  []int // by worker, in a search: the expert that comes from there
	queue  []int // of workers, in a search
}

// start marks a worker that the searched expert itself may go to.
const start = -2

// placeLayer returns what each worker gets of a layer, as many experts as its
// quota says. prev is what each had.
func placeLayer(layer Layer, quotas, zones []int, prev []Set) []Set {
	p := newPlacing(layer.Experts, quotas, zones)
	p.group = layer.groupSize()
	p.keep(prev)
	p.fill()
	return p.sets
}

func newPlacing(experts int, quotas, zones []int) *placing {
	total := 0
	for _, n := range quotas {
		total += n
	}
	n := len(quotas)
	return &placing{
		zones: zones, sets: make([]Set, n), room: slices.Clone(quotas),
		copies: make([]int, experts), each: total / experts, more: total % experts,
		marks: make([]int, n), moves: make([]int, n),
	}
}

func (p *placing) give(w, e int) {
	p.sets[w].Add(e)
	p.room[w]--
	p.copies[e]++
	if p.copies[e] == p.each+1 {
		p.more--
	}
}

func (p *placing) take(w, e int) {
	p.sets[w].Remove(e)
	p.room[w]++
	if p.copies[e] == p.each+1 {
		p.more++
	}
	p.copies[e]--
}

// keep lets workers have what they had before, within their quotas, and no
// expert more copies than it gets, nor two in a zone. Where something must go,
// it is what has the most copies left, so that nothing loses all of them; of
// those it is what has the fewest others of its group with it.
func (p *placing) keep(prev []Set) {
	p.prev = prev
	for w, set := range prev {
		for _, e := range set.Experts() {
			if e < len(p.copies) && p.apart(e, w, -1) {
				p.give(w, e)
			}
		}
	}
	shed := func(w int) bool {
		most := -1
		for _, e := range p.sets[w].Experts() {
			if most < 0 || p.copies[e] > p.copies[most] ||
				p.copies[e] == p.copies[most] && p.kin(w, e) <= p.kin(w, most) {
				most = e
			}
		}
		if most < 0 {
			return false
		}
		p.take(w, most)
		return true
	}
	for w := range p.sets {
		for p.room[w] < 0 && shed(w) {
		}
	}
	for w := len(p.sets) - 1; w >= 0; w-- {
		experts := p.sets[w].Experts()
		for i := len(experts) - 1; i >= 0; i-- {
			if e := experts[i]; p.copies[e] > p.each+1 || p.more < 0 && p.copies[e] == p.each+1 {
				p.take(w, e)
			}
		}
	}
}

// fill gives every expert its copies, the first ones first.
func (p *placing) fill() {
	for level := 0; level <= p.each; level++ {
		for e := range p.copies {
			for p.copies[e] <= level && (p.copies[e] < p.each || p.more > 0) && p.place(e) {
			}
		}
	}
}

// place gives an expert one more copy, in a zone that has none if that can be
// had, and reports whether it could.
func (p *placing) place(e int) bool {
	if p.search(e, p.apart) {
		return true
	}
	// It must share a zone: better with the worker that has it already.
	for w := range p.sets {
		if p.room[w] > 0 && w < len(p.prev) && p.prev[w].Has(e) && !p.sets[w].Has(e) {
			p.give(w, e)
			return true
		}
	}
	return p.search(e, func(e, w, _ int) bool { return !p.sets[w].Has(e) })
}

// apart reports whether worker w may get expert e: nobody in its zone has it,
// but for worker but, which would lose it.
func (p *placing) apart(e, w, but int) bool {
	for i, set := range p.sets {
		if p.zones[i] == p.zones[w] && i != but && set.Has(e) {
			return false
		}
	}
	return true
}

// kin counts the experts of e's group that worker w has.
func (p *placing) kin(w, e int) int {
	if p.group == 0 {
		return 0
	}
	return inGroup(p.sets[w], e, p.group)
}

// search finds a worker with room for expert e, the one that has most of its
// group. If all of those are barred from it, others make room by passing experts
// on, in the shortest chain of moves that ends where there is room.
func (p *placing) search(e int, may func(e, w, but int) bool) bool {
	queue := p.queue[:0]
	best := -1
	for w := range p.marks {
		p.marks[w] = -1
		if may(e, w, -1) {
			if p.room[w] > 0 && (best < 0 || p.kin(w, e) > p.kin(best, e)) {
				best = w
			}
			p.marks[w] = start
			queue = append(queue, w)
		}
	}
	if best >= 0 {
		p.give(best, e)
		return true
	}
	for i := 0; i < len(queue); i++ {
		from := queue[i]
		for to := range p.marks {
			if p.marks[to] != -1 {
				continue
			}
			f := p.movable(from, to, may)
			if f < 0 {
				continue
			}
			p.marks[to], p.moves[to] = from, f
			if p.room[to] > 0 {
				p.pass(e, to)
				return true
			}
			queue = append(queue, to)
		}
	}
	p.queue = queue
	return false
}

// movable is an expert that one worker can pass on to another, or -1; one that
// it had not before, if there is such.
func (p *placing) movable(from, to int, may func(e, w, but int) bool) int {
	found := -1
	for _, f := range p.sets[from].Experts() {
		if !may(f, to, from) {
			continue
		}
		if from >= len(p.prev) || !p.prev[from].Has(f) {
			return f
		}
		if found < 0 {
			found = f
		}
	}
	return found
}

// pass carries out a chain of moves that ends at worker last and makes room for
// expert e at its beginning.
func (p *placing) pass(e, last int) {
	for w := last; ; {
		from := p.marks[w]
		if from == start {
			p.give(w, e)
			return
		}
		f := p.moves[w]
		p.take(from, f)
		p.give(w, f)
		w = from
	}
}
