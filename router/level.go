package router

import "github.com/conclave-serve/conclave/shard"

// Moving work must pay: a move that gains less of the slowest worker's time than
// this costs more in messages and choosing.
const leastGain = 1.0 / 16

// move hands rows of a part, its last ones, to another holder.
type move struct {
	part, rows, to int
	gain           float64 // of the slower of the two
}

// level moves parts, whole or with split some of their rows, from slow holders to
// faster ones, until no move gains enough. The slowest sheds first; where nobody
// near it has room, others make some by shedding themselves. Where parts differ it
// finds a good placement rather than a proven best one.
func (b *balance) level(split bool) {
	for range 4 * (len(b.order) + len(b.load)) { // a move can always be undone by later ones
		_, limit := b.slowest()
		m, found := b.relief(limit, split)
		if !found {
			return
		}
		b.carry(m)
	}
}

// relief finds the best move off the slowest holder that has one which gains
// enough.
func (b *balance) relief(limit float64, split bool) (m move, found bool) {
	for h, ok := b.next(-1); ok; h, ok = b.next(h) {
		for _, p := range b.order {
			if b.parts[p].holder != h {
				continue
			}
			for _, u := range b.parts[p].choices {
				if int(u) == h {
					continue
				}
				if other := b.best(p, int(u), split, limit); other.gain > m.gain {
					m = other
				}
			}
		}
		if m.gain > limit*leastGain {
			return m, true
		}
	}
	return m, false
}

// next is the holder that is the slowest after h, or of all for -1. Of equally
// slow ones the first comes first.
func (b *balance) next(h int) (holder int, ok bool) {
	holder = -1
	for u, n := range b.load {
		if n == 0 || h >= 0 && !b.slower(h, u) {
			continue
		}
		if holder < 0 || b.slower(u, holder) {
			holder = u
		}
	}
	return holder, holder >= 0
}

// slower orders holders by how long they take.
func (b *balance) slower(h, u int) bool {
	now, then := b.time(h, b.load[h]), b.time(u, b.load[u])
	return now > then || now == then && h < u
}

// best is how a part's rows are best shared with another replica: all of them go
// there, or with split, if that gains enough more, as many as make both as fast.
func (b *balance) best(p, u int, split bool, limit float64) move {
	rows, h := b.parts[p].rows, b.parts[p].holder
	whole := b.weigh(p, rows, u)
	if !split || rows < 2*shard.RowsPerRead {
		return whole
	}
	even := (b.load[h]*b.speed[u] - b.load[u]*b.speed[h]) / (b.speed[h] + b.speed[u])
	some := min(max(int(even*shard.RowsPerRead), shard.RowsPerRead), rows-shard.RowsPerRead)
	half := b.weigh(p, some, u)
	if half.gain > max(whole.gain, 0)+limit*leastGain {
		return half
	}
	return whole
}

// weigh says what it gains to hand so many rows of a part to a holder.
func (b *balance) weigh(p, rows, u int) move {
	h, all := b.parts[p].holder, b.parts[p].rows
	left := b.load[h] - reads(all)
	if rows < all {
		left += reads(all - rows)
	}
	then := max(b.time(h, left), b.time(u, b.load[u]+reads(rows)))
	return move{part: p, rows: rows, to: u, gain: b.time(h, b.load[h]) - then}
}

// carry carries a move out.
func (b *balance) carry(m move) {
	p := &b.parts[m.part]
	if m.rows == p.rows {
		b.put(m.part, m.to)
		return
	}
	b.load[p.holder] -= reads(p.rows)
	p.rows -= m.rows
	b.load[p.holder] += reads(p.rows)
	tail := *p
	tail.from, tail.rows, tail.holder = p.from+p.rows, m.rows, -1
	b.order = append(b.order, len(b.parts))
	b.parts = append(b.parts, tail)
	b.put(len(b.parts)-1, m.to)
}
