package router

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/conclave-serve/conclave/shard"
)

// drawStates draws what is known of holders.
func drawStates(t *rapid.T, n int) []State {
	states := make([]State, n)
	for i := range states {
		states[i] = State{
			Speed:   rapid.SampledFrom([]float64{0, 1, 1, 2, 3.5}).Draw(t, "speed"),
			Avoid:   rapid.IntRange(0, 4).Draw(t, "avoid") == 0,
			Exclude: rapid.IntRange(0, 7).Draw(t, "exclude") == 0,
		}
	}
	return states
}

// slowestCall is the time of the slowest of a route's calls by the speeds that
// balance goes by.
func slowestCall(b *balance, calls []Call) (time float64) {
	for _, c := range calls {
		n := 0.0
		for _, rows := range c.RowCounts {
			n += reads(int(rows))
		}
		time = max(time, b.time(c.Holder, n))
	}
	return time
}

// fastestPlacement tries every way to give experts, whole, to their choices.
func fastestPlacement(b *balance) float64 {
	var experts []part // those that are open, without the parts of others
	for _, p := range b.parts {
		if n := len(experts); n > 0 && experts[n-1].expert == p.expert {
			experts[n-1].rows += p.rows
		} else if p.holder >= 0 {
			experts = append(experts, p)
		}
	}
	if len(experts) > 8 {
		return math.NaN() // too many ways
	}
	best, load := math.Inf(1), make([]float64, len(b.load))
	var try func(i int)
	try = func(i int) {
		if i == len(experts) {
			worst := 0.0
			for h, n := range load {
				worst = max(worst, b.time(h, n))
			}
			best = min(best, worst)
			return
		}
		for _, h := range experts[i].choices {
			load[h] += reads(experts[i].rows)
			try(i + 1)
			load[h] -= reads(experts[i].rows)
		}
	}
	try(0)
	return best
}

// The slowest worker is as fast as in the best of all placements, or near that
// where experts have rows in plenty, nobody is
// asked who is excluded, and whoever is to be avoided only where nobody else
// serves an expert.
func TestReplicasAreChosenForTheSlowest(t *testing.T) {
	var r Route
	rapid.Check(t, func(t *rapid.T) {
		table, c := drawCase(t)
		states := drawStates(t, len(table.Holders))
		r.Plan(table, 1, c, states)
		got, want := slowestCall(&r.balance, r.Calls), fastestPlacement(&r.balance)
		if !r.balance.uniform {
			want *= 1.5 // experts that differ are placed well, not proven best
		}
		if len(r.Calls) > 0 && got > want {
			t.Fatalf("the slowest takes %v, could take %v", got, want)
		}
		for _, call := range r.Calls {
			s := states[call.Holder]
			if s.Exclude {
				t.Fatalf("holder %d is asked", call.Holder)
			}
			for _, e := range call.Experts {
				for _, h := range table.replicas[1][e] {
					if other := states[h]; s.Avoid && !other.Avoid && !other.Exclude {
						t.Fatalf("holder %d is asked for expert %d, which %d serves", call.Holder, e, h)
					}
				}
			}
		}
	})
}

// Calls fail, are late, are doubled and answer in any order: in the end every
// expert has one answer, from a call that was asked for it.
func TestRouteUnderFailures(t *testing.T) {
	var r Route
	rapid.Check(t, func(t *rapid.T) {
		table, c := drawCase(t)
		r.Plan(table, 1, c, drawStates(t, len(table.Holders)))
		live := map[int]bool{}
		add := func() {
			for i := range r.Calls {
				if _, known := live[i]; !known {
					live[i] = true
				}
			}
		}
		add()
		for range 40 {
			call := -1
			for i := range r.Calls {
				if live[i] && (call < 0 || rapid.Bool().Draw(t, "next")) {
					call = i
				}
			}
			if call < 0 {
				break
			}
			switch rapid.IntRange(0, 4).Draw(t, "event") {
			case 0:
				r.Failed(call)
				live[call] = false
				r.Again(table, 1, drawStates(t, len(table.Holders)))
			case 1:
				states := make([]State, len(table.Holders))
				if h := r.Calls[call].Holder; h != Here {
					states[h].Exclude = true
				}
				before := len(r.Calls)
				if asked := r.Also(table, 1, call, states); asked != (len(r.Calls) > before) {
					t.Fatalf("says asked %v, made %d calls", asked, len(r.Calls)-before)
				}
			case 2:
				r.Late(call)
				if slot := r.Overdue(); slot >= 0 {
					r.TakeHere(slot)
				}
			default:
				r.Answered(call)
				live[call] = false
			}
			add()
		}
		// Whatever is left is answered now, if there is anybody at all, or here.
		r.Again(table, 1, nil)
		if rapid.Bool().Draw(t, "last resort") {
			for slot := r.Overdue(); slot >= 0; slot = r.Overdue() {
				r.TakeHere(slot)
			}
			if r.Unasked() {
				t.Fatal("a slot was not taken")
			}
		}
		add()
		for i := range r.Calls {
			if live[i] {
				r.Answered(i)
			}
		}
		if !r.Unasked() {
			if !r.Complete() {
				t.Fatal("nobody is left to ask, but something is missing")
			}
			checkAnswers(t, &r, c)
		}
	})
}

// checkAnswers follows every slot to where its outputs are.
func checkAnswers(t *rapid.T, r *Route, c Choice) {
	wanted := map[triple]bool{}
	for i, e := range c.Experts {
		wanted[triple{uint32(i / c.K), e, c.Weights[i]}] = true
	}
	for _, slot := range r.Slots {
		call := &r.Calls[slot.Call]
		for i := slot.First; i < slot.First+slot.Count; i++ {
			got := triple{uint32(call.Token(i)), slot.Expert, call.Weights[i]}
			if !wanted[got] {
				t.Fatalf("%+v was not asked for, or twice", got)
			}
			delete(wanted, got)
		}
	}
	if len(wanted) > 0 {
		t.Fatalf("left: %v", wanted)
	}
}

// replicated is a layer of DeepSeek-V3's shape whose experts have two copies.
func replicated(tokens int) (*Table, []float32, Choice) {
	table, logits, c := deepSeek(tokens)
	holders := table.Holders
	for e := range 256 {
		holders[(e+1+e/8%7)%8].Ready[0].Add(e)
	}
	return NewTable(nil, []int{256}, holders), logits, c
}

func TestChoosingReplicasAllocatesNothing(t *testing.T) {
	table, logits, c := replicated(16)
	gate := deepSeekGate()
	gate.Choose(logits, nil, &c)
	states := make([]State, len(table.Holders))
	for i := range states {
		states[i].Speed = float64(10 + i)
	}
	var r Route
	layer := func() {
		r.Plan(table, 0, c, states)
		r.Failed(0)
		states[r.Calls[0].Holder].Exclude = true
		if r.Again(table, 0, states) >= 0 {
			t.Fatal("an expert is missing")
		}
		states[r.Calls[0].Holder].Exclude = false
	}
	layer()
	if n := testing.AllocsPerRun(20, layer); n != 0 {
		t.Errorf("a layer allocates %v times", n)
	}
}

// One copy of everything, or two with speeds that differ.
func BenchmarkReplicas(b *testing.B) {
	for _, tokens := range []int{1, 64} {
		table, logits, c := replicated(tokens)
		deepSeekGate().Choose(logits, nil, &c)
		states := make([]State, len(table.Holders))
		for i := range states {
			states[i].Speed = float64(10 + i)
		}
		b.Run(fmt.Sprintf("tokens=%d", tokens), func(b *testing.B) {
			var r Route
			b.ReportAllocs()
			for b.Loop() {
				r.Plan(table, 0, c, states)
			}
		})
	}
}

// With nothing to gain a layer goes to as few workers as can be.
func TestFewerWorkersWhereItCostsNothing(t *testing.T) {
	holders := []Holder{
		{ID: "a", Ready: []shard.Set{shard.NewSet(0, 1, 2, 3)}, Reachable: true},
		{ID: "b", Ready: []shard.Set{shard.NewSet(0, 1, 2, 3)}, Reachable: true},
		{ID: "c", Ready: []shard.Set{shard.NewSet(3, 4, 5, 6)}, Reachable: true},
	}
	table := NewTable(nil, []int{7}, holders)
	var r Route
	// c alone has 4, 5 and 6; a can do 0, 1 and 2 meanwhile.
	r.Plan(table, 0, Choice{K: 6, Experts: []uint32{0, 1, 2, 4, 5, 6}, Weights: make([]float32, 6)}, nil)
	if len(r.Calls) != 2 {
		t.Errorf("%d workers are asked, want 2: %+v", len(r.Calls), r.Calls)
	}
}
