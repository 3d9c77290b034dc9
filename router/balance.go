package router

// State is what the choice of replicas knows of a holder beyond the table. The
// zero value is a holder like any other.
type State struct {
	// Speed is how many bytes of experts it works through in a second; 0 if
	// nobody has measured it: then it counts as the others' mean.
	Speed float64
	// Avoid is set while it is late with an answer, or has been too often: it
	// gets only what nobody else serves.
	Avoid bool
	// Exclude is set if it must not be asked now.
	Exclude bool
}

// balance gives each open expert of a layer to one of its replicas, so that the
// slowest worker is as fast as can be. It is scratch memory that is used again
// from layer to layer.
//
// Experts of a layer are of one size, and a worker reads each of them once
// however many tokens want it: its time is its number of experts by its speed.
type balance struct {
	choices [][]uint16 // by expert: the replicas that may be asked
	holder  []int      // by expert: the one that is, or -1
	open    []int      // the experts to place, ascending
	load    []int      // by holder: experts
	speed   []float64  // by holder
	from    []int      // by holder, in a search: the expert that would come here, or -1
	queue   []int
}

// begin forgets the last layer.
func (b *balance) begin(holders, experts int, states []State) {
	for len(b.choices) < experts {
		b.choices = append(b.choices, nil)
		b.holder = append(b.holder, -1)
	}
	for len(b.load) < holders {
		b.load, b.speed = append(b.load, 0), append(b.speed, 0)
		b.from, b.queue = append(b.from, -1), append(b.queue, 0)
	}
	b.open, b.load, b.speed = b.open[:0], b.load[:holders], b.speed[:holders]
	clear(b.load)
	sum, known := 0.0, 0
	for h := range b.speed {
		b.speed[h] = 0
		if h < len(states) && states[h].Speed > 0 {
			b.speed[h] = states[h].Speed
			sum, known = sum+states[h].Speed, known+1
		}
	}
	mean := 1.0
	if known > 0 {
		mean = sum / float64(known)
	}
	for h, v := range b.speed {
		if v == 0 {
			b.speed[h] = mean
		}
	}
}

// add opens an expert and reports whether anybody may be asked for it.
func (b *balance) add(e int, replicas []uint16, states []State) bool {
	best := b.choices[e][:0]
	for _, avoided := range []bool{false, true} {
		for _, h := range replicas {
			s := State{}
			if int(h) < len(states) {
				s = states[h]
			}
			if !s.Exclude && s.Avoid == avoided {
				best = append(best, h)
			}
		}
		if len(best) > 0 {
			break
		}
	}
	b.choices[e], b.holder[e] = best, -1
	if len(best) == 0 {
		return false
	}
	b.open = append(b.open, e)
	return true
}

// time is what a holder would take for n experts.
func (b *balance) time(h, n int) float64 { return float64(n) / b.speed[h] }

// solve sets holder for all open experts.
func (b *balance) solve() {
	for _, e := range b.open {
		b.put(e, b.fastest(e))
	}
	for b.improve() {
	}
	b.gather()
}

// fastest is the replica that has the expert done first. Of equals it is the
// one that is asked anyway; else they take turns by expert.
func (b *balance) fastest(e int) int {
	choices := b.choices[e]
	best := -1
	for i := range choices {
		h := int(choices[(e+i)%len(choices)])
		if best < 0 {
			best = h
			continue
		}
		now, then := b.time(h, b.load[h]+1), b.time(best, b.load[best]+1)
		if now < then || now == then && b.load[h] > 0 && b.load[best] == 0 {
			best = h
		}
	}
	return best
}

func (b *balance) put(e, h int) {
	if old := b.holder[e]; old >= 0 {
		b.load[old]--
	}
	b.holder[e] = h
	b.load[h]++
}

// slowest is the holder that needs the longest, and how long.
func (b *balance) slowest() (holder int, time float64) {
	for h, n := range b.load {
		if t := b.time(h, n); t > time {
			holder, time = h, t
		}
	}
	return holder, time
}

// improve takes an expert off the slowest holder, by a chain of moves that ends
// at one which stays faster than that; false if there is none, which proves
// that no placement is faster.
func (b *balance) improve() bool {
	slow, limit := b.slowest()
	spare := false
	for h := range b.load {
		b.from[h] = -1
		spare = spare || b.time(h, b.load[h]+1) < limit
	}
	if !spare {
		return false
	}
	queue := append(b.queue[:0], slow)
	for i := 0; i < len(queue); i++ {
		v := queue[i]
		for _, e := range b.open {
			if b.holder[e] != v {
				continue
			}
			for _, u := range b.choices[e] {
				u := int(u)
				if u == slow || b.from[u] >= 0 {
					continue
				}
				b.from[u] = e
				if b.time(u, b.load[u]+1) < limit {
					b.shift(slow, u)
					return true
				}
				queue = append(queue, u)
			}
		}
	}
	return false
}

// shift carries out the chain of moves that a search found from slow to last.
func (b *balance) shift(slow, last int) {
	for h := last; h != slow; {
		e := b.from[h]
		before := b.holder[e]
		b.put(e, h)
		h = before
	}
}

// gather frees holders whose experts others, which are asked anyway, take along
// without becoming the slowest: a message less.
func (b *balance) gather() {
	_, limit := b.slowest()
	for h := len(b.load) - 1; h >= 0; h-- {
		if b.load[h] == 0 {
			continue
		}
		moved := b.queue[:0]
		for _, e := range b.open {
			if b.holder[e] == h {
				u := b.host(e, h, limit)
				if u < 0 {
					break
				}
				b.put(e, u)
				moved = append(moved, e)
			}
		}
		if b.load[h] > 0 {
			for _, e := range moved {
				b.put(e, h)
			}
		}
		b.queue = moved
	}
}

// host is a replica in use, other than h, that takes an expert in within the
// limit; -1 if there is none.
func (b *balance) host(e, h int, limit float64) int {
	for _, u := range b.choices[e] {
		u := int(u)
		if u != h && b.load[u] > 0 && b.time(u, b.load[u]+1) <= limit {
			return u
		}
	}
	return -1
}
