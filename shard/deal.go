package shard

import (
	"cmp"
	"slices"
)

// deal places a layer's experts anew, without regard to where they are: a copy
// more for whichever has the most reads a copy, as long as there is room, and
// then copy after copy, the heaviest first, to the worker that has it done first.
// It returns nil if that would give experts fewer copies than they have, or
// fewer zones.
func (s *search) deal() []Set {
	n := len(s.speed)
	sets, room, places, given := make([]Set, n), make([]int, n), 0, 0
	for w := range sets {
		room[w] = s.sets[w].Len() + max(s.room[w], 0)
		places += min(room[w], len(s.load))
		given += s.sets[w].Len()
	}
	counts := s.counts(min(places, given+max(s.extra, 0)), given)
	type copied struct {
		expert int
		reads  float64
	}
	var order []copied
	for e, k := range counts {
		for range k {
			order = append(order, copied{e, s.load[e] / float64(k)})
		}
	}
	slices.SortStableFunc(order, func(a, b copied) int { return cmp.Compare(b.reads, a.reads) })
	times := make([]float64, n)
	for _, c := range order {
		best, apart := -1, false
		for w := range sets {
			if room[w] == 0 || sets[w].Has(c.expert) {
				continue
			}
			alone := !s.zoneHas(sets, w, c.expert)
			if best < 0 || alone && !apart || alone == apart &&
				times[w]+c.reads/s.speed[w] < times[best]+c.reads/s.speed[best] {
				best, apart = w, alone
			}
		}
		if best >= 0 {
			sets[best].Add(c.expert)
			room[best]--
			times[best] += c.reads / s.speed[best]
		}
	}
	was := count(s.sets, s.zones, len(s.load), s.copies)
	is := count(sets, s.zones, len(s.load), s.copies)
	if is.least < was.least || is.copies < was.copies || is.zones < was.zones {
		return nil
	}
	return sets
}

// counts divides places among experts: first as many as they have together, up
// to the copies that each is to have, then to whichever has the most reads a copy.
func (s *search) counts(places, given int) []int {
	counts := slices.Repeat([]int{s.floor}, len(s.load))
	for used := s.floor * len(counts); used < places; used++ {
		best := -1
		for e, k := range counts {
			if k == len(s.speed) || used < given && k >= s.copies {
				continue
			}
			if best < 0 || s.load[e]*float64(counts[best]) > s.load[best]*float64(k) {
				best = e
			}
		}
		if best < 0 {
			break
		}
		counts[best]++
	}
	return counts
}

func (s *search) zoneHas(sets []Set, w, e int) bool {
	for v, set := range sets {
		if s.zones[v] == s.zones[w] && set.Has(e) {
			return true
		}
	}
	return false
}
