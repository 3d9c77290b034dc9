package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// One route by hand, so that the layout can be read off.
func TestRouteByHand(t *testing.T) {
	a, b := Holder{ID: "a", Reachable: true}, Holder{ID: "b", Reachable: true}
	a.Ready, b.Ready = []shard.Set{shard.NewSet(0, 3)}, []shard.Set{shard.NewSet(1, 2)}
	table := NewTable(nil, []int{4}, []Holder{a, b})
	c := Choice{
		K:       2,
		Experts: []uint32{3, 1 /**/, 0, 3 /**/, 2, 1},
		Weights: []float32{.3, .1 /**/, .5, .35 /**/, .2, .15},
	}
	var r Route
	if missing := r.Plan(table, 0, c, nil); missing != -1 {
		t.Fatalf("expert %d is missing", missing)
	}
	want := []Call{
		{
			Holder: 0, Tokens: []uint32{0, 1}, Experts: []uint32{0, 3}, RowCounts: []uint32{1, 2},
			Rows: []uint32{1, 0, 1}, Weights: []float32{.5, .3, .35},
		},
		{
			Holder: 1, Tokens: []uint32{0, 2}, Experts: []uint32{1, 2}, RowCounts: []uint32{2, 1},
			Rows: []uint32{0, 1, 1}, Weights: []float32{.1, .15, .2},
		},
	}
	if d := cmp.Diff(want, r.Calls, cmpopts.IgnoreUnexported(Call{})); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
	r.Answered(1)
	if r.Complete() {
		t.Error("complete after one answer of two")
	}
	r.Answered(0)
	slots := []Slot{
		{Expert: 0, Call: 0, First: 0, Count: 1}, {Expert: 1, Call: 1, First: 0, Count: 2},
		{Expert: 2, Call: 1, First: 2, Count: 1}, {Expert: 3, Call: 0, First: 1, Count: 2},
	}
	if d := cmp.Diff(slots, r.Slots); d != "" {
		t.Errorf("slots (-want +got):\n%s", d)
	}
}

// triple is one thing that a token wants.
type triple struct {
	token, expert uint32
	weight        float32
}

// drawCase draws a table and a choice; every weight is unique, so that a
// weight that went to the wrong place shows.
func drawCase(t *rapid.T) (*Table, Choice) {
	experts := rapid.IntRange(1, 12).Draw(t, "experts")
	var holders []Holder
	for i := range rapid.IntRange(1, 5).Draw(t, "holders") {
		h := Holder{ID: shard.WorkerID(fmt.Sprint("w", i)), Ready: make([]shard.Set, 2)}
		h.Reachable = rapid.IntRange(0, 5).Draw(t, "away") > 0
		for e := range experts {
			if rapid.IntRange(0, 2).Draw(t, "ready") > 0 {
				h.Ready[1].Add(e)
			}
		}
		holders = append(holders, h)
	}
	c := Choice{K: rapid.IntRange(1, experts).Draw(t, "k")}
	all := make([]uint32, experts)
	for e := range all {
		all[e] = uint32(e)
	}
	tokens := rapid.IntRange(1, 9)
	if rapid.IntRange(0, 2).Draw(t, "prompt") == 0 {
		tokens = rapid.IntRange(10, 60) // experts have enough rows to share
	}
	for token := range tokens.Draw(t, "tokens") {
		for i, e := range rapid.Permutation(all).Draw(t, "chosen")[:c.K] {
			c.Experts = append(c.Experts, e)
			c.Weights = append(c.Weights, float32(token*c.K+i))
		}
	}
	return NewTable(nil, []int{3, experts}, holders), c
}

// The route is reused from case to case, as a dispatcher does.
func TestRouteCarriesEverythingOnce(t *testing.T) {
	var r Route
	rapid.Check(t, func(t *rapid.T) {
		table, c := drawCase(t)
		missing := r.Plan(table, 1, c, nil)
		for i, e := range c.Experts {
			served := slices.ContainsFunc(table.Holders, func(h Holder) bool {
				return h.Reachable && h.Ready[1].Has(int(e))
			})
			if !served {
				if missing < 0 {
					t.Fatalf("expert %d is nowhere, but the route is complete", c.Experts[i])
				}
				return
			}
		}
		if missing >= 0 {
			t.Fatalf("expert %d is called missing", missing)
		}
		checkCalls(t, table, r.Calls)
		checkSlots(t, &r, c)
	})
}

func checkCalls(t *rapid.T, table *Table, calls []Call) {
	holders := map[int]bool{}
	for _, call := range calls {
		h := table.Holders[call.Holder]
		if holders[call.Holder] || !h.Reachable {
			t.Fatalf("worker %s is called twice or not reachable", h.ID)
		}
		holders[call.Holder] = true
		if !ascends(call.Tokens) || !ascends(call.Experts) {
			t.Fatalf("not ascending: tokens %v, experts %v", call.Tokens, call.Experts)
		}
		if len(call.Experts) != len(call.RowCounts) || len(call.Rows) != len(call.Weights) {
			t.Fatalf("lists differ in length: %+v", call)
		}
		at, used := 0, make([]bool, len(call.Tokens))
		for i, e := range call.Experts {
			if !h.Ready[1].Has(int(e)) {
				t.Fatalf("expert %d is not held by %s", e, h.ID)
			}
			rows := call.Rows[at : at+int(call.RowCounts[i])]
			if len(rows) == 0 || !ascends(rows) {
				t.Fatalf("expert %d has rows %v", e, rows)
			}
			for _, row := range rows {
				used[row] = true
			}
			at += len(rows)
		}
		if at != len(call.Rows) || slices.Contains(used, false) {
			t.Fatalf("%d of %d rows have an expert; tokens in use: %v", at, len(call.Rows), used)
		}
	}
}

func checkSlots(t *rapid.T, r *Route, c Choice) {
	for i := range r.Calls {
		r.Answered(i)
	}
	if !r.Complete() || r.Unasked() {
		t.Fatal("every call has answered, but the route is not complete")
	}
	wanted := map[triple]bool{}
	for i, e := range c.Experts {
		wanted[triple{uint32(i / c.K), e, c.Weights[i]}] = true
	}
	total, last, next := 0, -1, 0
	for _, slot := range r.Slots {
		if int(slot.Expert) != last {
			next = 0
		}
		if int(slot.Expert) < last || slot.From != next {
			t.Fatalf("slot of expert %d from row %d after that of %d up to %d", slot.Expert, slot.From, last, next)
		}
		last, next = int(slot.Expert), slot.From+slot.Count
		call := &r.Calls[slot.Call]
		for i := slot.First; i < slot.First+slot.Count; i++ {
			got := triple{uint32(call.Token(i)), slot.Expert, call.Weights[i]}
			if !wanted[got] {
				t.Fatalf("%+v was not asked for, or twice", got)
			}
			delete(wanted, got)
		}
		total += slot.Count
	}
	if total != len(c.Experts) || len(wanted) > 0 {
		t.Fatalf("slots cover %d of %d; left: %v", total, len(c.Experts), wanted)
	}
}

func ascends(v []uint32) bool {
	for i := 1; i < len(v); i++ {
		if v[i] <= v[i-1] {
			return false
		}
	}
	return true
}

// deepSeek is a layer of DeepSeek-V3's shape: 256 experts over 8 workers, 8
// for each token.
func deepSeek(tokens int) (*Table, []float32, Choice) {
	const experts, workers = 256, 8
	holders := make([]Holder, workers)
	for w := range holders {
		holders[w] = Holder{ID: shard.WorkerID(fmt.Sprint(w)), Ready: make([]shard.Set, 1), Reachable: true}
	}
	for e := range experts {
		holders[e%workers].Ready[0].Add(e)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	logits := make([]float32, tokens*experts)
	for i := range logits {
		logits[i] = float32(rng.NormFloat64())
	}
	c := Choice{K: 8}
	c.Resize(tokens)
	return NewTable(nil, []int{experts}, holders), logits, c
}

func deepSeekGate() *Gate {
	return NewGate(model.Gate{
		Score: model.SigmoidScore, Groups: 8, KeepGroups: 4, GroupScore: model.GroupTopTwo,
		Renormalize: true, Scale: 2.5,
	}, 256)
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	table, logits, c := deepSeek(16)
	scratch := make([]float32, len(logits))
	var r Route
	gate := deepSeekGate()
	layer := func() {
		copy(scratch, logits)
		c.Resize(16)
		gate.Choose(scratch, nil, &c)
		if r.Plan(table, 0, c, nil) >= 0 {
			t.Fatal("an expert is missing")
		}
	}
	layer()
	if n := testing.AllocsPerRun(20, layer); n != 0 {
		t.Errorf("a layer allocates %v times", n)
	}
}

func BenchmarkRoute(b *testing.B) {
	for _, tokens := range []int{1, 64} {
		table, logits, c := deepSeek(tokens)
		scratch, gate := make([]float32, len(logits)), deepSeekGate()
		b.Run(fmt.Sprintf("gate/tokens=%d", tokens), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				copy(scratch, logits)
				gate.Choose(scratch, nil, &c)
			}
		})
		b.Run(fmt.Sprintf("plan/tokens=%d", tokens), func(b *testing.B) {
			var r Route
			b.ReportAllocs()
			for b.Loop() {
				r.Plan(table, 0, c, nil)
			}
		})
	}
}
