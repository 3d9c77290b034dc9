package router

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/conclave-serve/conclave/shard"
)

// storm drives a route as a dispatcher does while calls fail, are late and are answered in
// any order, tables change and slots are computed here. What became of each call is kept
// beside it in the plainest way.
type storm struct {
	t     *rapid.T
	r     *Route
	table *Table
	c     Choice
	calls []stormCall
}

// stormCall is what the storm knows of a call.
type stormCall struct{ live, late, doubled, answered bool }

// states are random ones.
func (s *storm) states() []State {
	states := make([]State, rapid.IntRange(0, len(s.table.Holders)).Draw(s.t, "known"))
	for i := range states {
		states[i] = State{
			Speed:   float64(rapid.IntRange(0, 9).Draw(s.t, "speed")) * 1e9,
			Avoid:   rapid.IntRange(0, 3).Draw(s.t, "avoid") == 0,
			Exclude: rapid.IntRange(0, 3).Draw(s.t, "exclude") == 0,
		}
	}
	return states
}

// sent takes in that calls have been made, to workers that may be asked.
func (s *storm) sent(states []State) {
	for i := len(s.calls); i < len(s.r.Calls); i++ {
		c := &s.r.Calls[i]
		if c.Holder < len(states) && states[c.Holder].Exclude {
			s.t.Fatalf("call %d goes to holder %d, which is excluded", i, c.Holder)
		}
		rows := 0
		for _, at := range c.Slots() {
			slot := s.r.Slots[at]
			rows += slot.Count
			if !slices.Contains(s.table.Serving(1, int(slot.Expert)), uint16(c.Holder)) {
				s.t.Fatalf("call %d: holder %d does not serve expert %d", i, c.Holder, slot.Expert)
			}
			if slot.Call >= 0 {
				s.t.Fatalf("call %d asks for a slot that is answered", i)
			}
		}
		if rows != len(c.Rows) || !ascends(c.Experts) || !ascends(c.Tokens) {
			s.t.Fatalf("call %d: slots of %d rows, %+v", i, rows, *c)
		}
		s.calls = append(s.calls, stormCall{live: true})
	}
}

// slot says of a slot whether somebody may still answer for it, and whether one of them is
// not late.
func (s *storm) slot(at int) (asked, hoped bool) {
	for i, k := range s.calls {
		if k.live && slices.Contains(s.r.Calls[i].Slots(), at) {
			asked, hoped = true, hoped || !k.late
		}
	}
	return asked, hoped
}

// agree holds the route's books to the plain ones.
func (s *storm) agree() {
	unasked, overdue, complete := false, -1, true
	for at, slot := range s.r.Slots {
		if slot.Call >= 0 {
			if !s.calls[slot.Call].answered {
				s.t.Fatalf("slot %d has the answer of call %d, which gave none", at, slot.Call)
			}
			continue
		}
		complete = false
		asked, hoped := s.slot(at)
		unasked = unasked || !asked
		if !hoped && overdue < 0 {
			overdue = at
		}
	}
	if s.r.Unasked() != unasked || s.r.Overdue() != overdue || s.r.Complete() != complete {
		s.t.Fatalf("unasked %v, overdue %d, complete %v; want %v, %d, %v",
			s.r.Unasked(), s.r.Overdue(), s.r.Complete(), unasked, overdue, complete)
	}
}

// event lets something happen to a random call, or of the route's own making.
func (s *storm) event() {
	var live []int
	for i, k := range s.calls {
		if k.live {
			live = append(live, i)
		}
	}
	what := rapid.IntRange(0, 6).Draw(s.t, "event")
	if len(live) == 0 && what < 4 {
		what = 4 + what%2
	}
	states := s.states()
	switch what {
	case 0, 1:
		i := rapid.SampledFrom(live).Draw(s.t, "answers")
		s.r.Answered(i)
		s.calls[i].live, s.calls[i].answered = false, true
	case 2:
		i := rapid.SampledFrom(live).Draw(s.t, "fails")
		s.r.Failed(i)
		s.calls[i].live = false
	case 3:
		i := rapid.SampledFrom(live).Draw(s.t, "is late")
		if !s.calls[i].doubled {
			s.calls[i].doubled = s.r.Also(s.table, 1, i, states)
			s.sent(states)
		}
		if rapid.Bool().Draw(s.t, "beyond the limit") {
			s.r.Late(i)
			s.calls[i].late = true
		}
	case 4:
		s.r.Again(s.table, 1, states)
		s.sent(states)
	case 5:
		if at := s.r.Overdue(); at >= 0 {
			i := s.r.TakeHere(at)
			s.calls = append(s.calls, stormCall{})
			if rapid.IntRange(0, 3).Draw(s.t, "broken") == 0 {
				s.r.Failed(i)
				return
			}
			s.r.Answered(i)
			s.calls[i].answered = true
		}
	case 6:
		s.table = drawTable(s.t, len(s.table.replicas[1]))
	}
}

// drawTable draws who serves the experts of layer 1.
func drawTable(t *rapid.T, experts int) *Table {
	var holders []Holder
	for i := range rapid.IntRange(0, 5).Draw(t, "holders") {
		h := Holder{ID: shard.WorkerID(fmt.Sprint("w", i)), Reachable: true, Ready: make([]shard.Set, 2)}
		for e := range experts {
			if rapid.IntRange(0, 2).Draw(t, "ready") > 0 {
				h.Ready[1].Add(e)
			}
		}
		holders = append(holders, h)
	}
	return NewTable(nil, []int{3, experts}, holders)
}

// term is what an expert makes of a token, wherever it runs: the order of a sum shows.
func term(token, expert int, weight float32) float32 {
	return weight * float32(math.Sin(float64(7*token+3*expert+1)))
}

// combine adds up what the calls of a route have answered, as a dispatcher does.
func (s *storm) combine(tokens int) []float32 {
	out := make([]float32, tokens)
	for _, slot := range s.r.Slots {
		call := &s.r.Calls[slot.Call]
		for i := slot.First; i < slot.First+slot.Count; i++ {
			out[call.Token(i)] += term(call.Token(i), int(slot.Expert), call.Weights[i])
		}
	}
	return out
}

// reference adds up the terms of a choice in ascending order of experts.
func (s *storm) reference(tokens int) []float32 {
	out := make([]float32, tokens)
	for e := range uint32(len(s.table.replicas[1])) {
		for i, chosen := range s.c.Experts {
			if chosen == e {
				out[i/s.c.K] += term(i/s.c.K, int(e), s.c.Weights[i])
			}
		}
	}
	return out
}

// Whatever happens on the way, a layer that is complete has each row once, and the bits of a
// plain sum.
func TestStormGivesTheSameBits(t *testing.T) {
	var r Route
	rapid.Check(t, func(t *rapid.T) {
		s := &storm{t: t, r: &r}
		s.table, s.c = drawCase(t)
		states := s.states()
		r.Plan(s.table, 1, s.c, states)
		s.sent(states)
		for range 200 {
			if s.agree(); r.Complete() {
				break
			}
			s.event()
		}
		for r.Overdue() >= 0 { // what is left
			i := r.TakeHere(r.Overdue())
			s.calls = append(s.calls, stormCall{answered: true})
			r.Answered(i)
		}
		for i := range s.calls { // and what comes late
			if s.calls[i].live {
				r.Answered(i)
				s.calls[i] = stormCall{answered: true}
			}
		}
		s.agree()
		tokens := len(s.c.Experts) / s.c.K
		got, want := s.combine(tokens), s.reference(tokens)
		for i := range want {
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
				t.Fatalf("token %d: %v, want %v", i, got[i], want[i])
			}
		}
	})
}
