package router

import (
	"cmp"
	"slices"

	"github.com/conclave-serve/conclave/shard"
)

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

// balance gives the rows of each open expert of a layer to its replicas, so that
// the slowest worker is as fast as can be. It is scratch memory that is used
// again from layer to layer.
//
// Experts of a layer are of one size. A worker reads each of them once however
// few tokens want it; with many tokens it takes as long as computing their rows.
// So work is counted in reads, and a worker's time is its reads by its speed.
type balance struct {
	parts   []part
	arena   []uint16  // what the parts' choices lie in
	order   []int     // the parts that somebody may be asked for, dearest first
	load    []float64 // by holder: reads
	speed   []float64 // by holder
	uniform bool      // no part takes longer than a read
	from    []int     // by holder, in a search: the part that would come here, or -1
	queue   []int
}

// part is some of an expert's rows, which one replica computes.
type part struct {
	expert     int
	slot       int // the route's
	from, rows int // of the expert's rows
	choices    []uint16
	holder     int // -1 if nobody may be asked
}

// reads is how many times its weights could be read while so many rows of an
// expert are computed.
func reads(rows int) float64 { return max(1, float64(rows)/shard.RowsPerRead) }

// begin forgets the last layer.
func (b *balance) begin(holders int, states []State) {
	if len(b.from) < holders {
		b.load, b.speed = make([]float64, holders), make([]float64, holders)
		b.from, b.queue = make([]int, holders), make([]int, 0, holders)
	}
	b.parts, b.arena, b.order, b.uniform = b.parts[:0], b.arena[:0], b.order[:0], true
	b.load, b.speed = b.load[:holders], b.speed[:holders]
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

// add opens a part of an expert and reports whether anybody may be asked for it.
func (b *balance) add(p part, replicas []uint16, states []State) bool {
	first := len(b.arena)
	for _, avoided := range []bool{false, true} {
		for _, h := range replicas {
			s := State{}
			if int(h) < len(states) {
				s = states[h]
			}
			if !s.Exclude && s.Avoid == avoided {
				b.arena = append(b.arena, h)
			}
		}
		if len(b.arena) > first {
			break
		}
	}
	p.choices, p.holder = b.arena[first:len(b.arena):len(b.arena)], -1
	if len(p.choices) > 0 {
		b.order = append(b.order, len(b.parts))
		b.uniform = b.uniform && reads(p.rows) == 1
	}
	b.parts = append(b.parts, p)
	return len(p.choices) > 0
}

// time is what a holder would take for so many reads.
func (b *balance) time(h int, reads float64) float64 { return reads / b.speed[h] }

// solve sets the holder of all parts that somebody may be asked for. With split,
// it divides parts among replicas where that pays.
func (b *balance) solve(split bool) {
	if !b.uniform {
		slices.SortStableFunc(b.order, func(p, q int) int {
			return cmp.Compare(b.parts[q].rows, b.parts[p].rows)
		})
	}
	for _, p := range b.order {
		b.put(p, b.fastest(p))
	}
	for moves := len(b.order) * len(b.load); moves > 0 && b.improve(); moves-- {
	}
	if !b.uniform {
		b.level(split)
	}
	b.gather()
}

// fastest is the replica that has the part done first. Of equals it is the one
// that is asked anyway; else they take turns by expert.
func (b *balance) fastest(p int) int {
	choices, n := b.parts[p].choices, reads(b.parts[p].rows)
	best := -1
	for i := range choices {
		h := int(choices[(b.parts[p].expert+i)%len(choices)])
		if best < 0 {
			best = h
			continue
		}
		now, then := b.time(h, b.load[h]+n), b.time(best, b.load[best]+n)
		if now < then || now == then && b.load[h] > 0 && b.load[best] == 0 {
			best = h
		}
	}
	return best
}

func (b *balance) put(p, h int) {
	n := reads(b.parts[p].rows)
	if old := b.parts[p].holder; old >= 0 {
		b.load[old] -= n // exact: quarters of small numbers
	}
	b.parts[p].holder = h
	b.load[h] += n
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

// improve takes a part off the slowest holder, by a chain of moves that ends at
// one which stays faster than that and makes none on the way as slow; false if it
// finds none, which proves that no placement is faster where all parts are alike.
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
		for _, p := range b.order {
			if b.parts[p].holder != v || v != slow && !b.fits(v, p, limit) {
				continue
			}
			for _, u := range b.parts[p].choices {
				u := int(u)
				if u == slow || b.from[u] >= 0 {
					continue
				}
				b.from[u] = p
				if b.time(u, b.load[u]+reads(b.parts[p].rows)) < limit {
					b.shift(slow, u)
					return true
				}
				queue = append(queue, u)
			}
		}
	}
	return false
}

// fits reports whether a holder, in a search, that hands a part on has room for
// the one that would come.
func (b *balance) fits(h, p int, limit float64) bool {
	in, out := reads(b.parts[b.from[h]].rows), reads(b.parts[p].rows)
	return in <= out || b.time(h, b.load[h]+in-out) < limit
}

// shift carries out the chain of moves that a search found from slow to last.
func (b *balance) shift(slow, last int) {
	for h := last; h != slow; {
		p := b.from[h]
		before := b.parts[p].holder
		b.put(p, h)
		h = before
	}
}

// gather frees holders whose parts others, which are asked anyway, take along
// without becoming the slowest: a message less.
func (b *balance) gather() {
	_, limit := b.slowest()
	for h := len(b.load) - 1; h >= 0; h-- {
		if b.load[h] == 0 {
			continue
		}
		moved := b.queue[:0]
		for _, p := range b.order {
			if b.parts[p].holder == h {
				u := b.host(p, h, limit)
				if u < 0 {
					break
				}
				b.put(p, u)
				moved = append(moved, p)
			}
		}
		if b.load[h] > 0 {
			for _, p := range moved {
				b.put(p, h)
			}
		}
		b.queue = moved
	}
}

// host is a replica in use, other than h, that takes a part in within the limit;
// -1 if there is none.
func (b *balance) host(p, h int, limit float64) int {
	n := reads(b.parts[p].rows)
	for _, u := range b.parts[p].choices {
		u := int(u)
		if u != h && b.load[u] > 0 && b.time(u, b.load[u]+n) <= limit {
			return u
		}
	}
	return -1
}
