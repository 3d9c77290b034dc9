package router

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/conclave-serve/conclave/shard"
)

// prompt is a choice in which every token wants the same experts.
func prompt(tokens int, experts ...uint32) Choice {
	c := Choice{K: len(experts), Weights: make([]float32, tokens*len(experts))}
	for range tokens {
		c.Experts = append(c.Experts, experts...)
	}
	return c
}

// workers are n of them that hold the given experts.
func workers(n int, experts ...int) []Holder {
	var holders []Holder
	for i := range n {
		holders = append(holders, Holder{
			ID: shard.WorkerID(fmt.Sprint("w", i)), Reachable: true, Ready: []shard.Set{shard.NewSet(experts...)},
		})
	}
	return holders
}

// rowsOf is how many rows each worker gets.
func rowsOf(r *Route, workers int) []int {
	rows := make([]int, workers)
	for _, c := range r.Calls {
		rows[c.Holder] += len(c.Rows)
	}
	return rows
}

func TestReplicasShareAHotExpert(t *testing.T) {
	for _, c := range []struct {
		name   string
		tokens int
		speeds []float64
		want   []int
	}{
		{"decoding", 4, []float64{1, 1}, []int{4, 0}},
		{"too few to share", 7, []float64{1, 1}, []int{7, 0}},
		{"two alike", 256, []float64{1, 1}, []int{128, 128}},
		{"one three times as fast", 256, []float64{1, 3}, []int{64, 192}},
	} {
		t.Run(c.name, func(t *testing.T) {
			holders := workers(len(c.speeds), 0)
			states := make([]State, len(c.speeds))
			for i, v := range c.speeds {
				states[i].Speed = v
			}
			var r Route
			r.Plan(NewTable(nil, []int{1}, holders), 0, prompt(c.tokens, 0), states)
			if got := rowsOf(&r, len(holders)); !slices.Equal(got, c.want) {
				t.Errorf("the workers get %v rows, want %v", got, c.want)
			}
		})
	}
}

// A worker whose experts others could share makes room for one that has nowhere
// else to go.
func TestWorkIsHandedOn(t *testing.T) {
	holders := workers(3)
	for i := range holders {
		holders[i].Ready[0] = shard.NewSet(i, i+1) // each shares one with the next
	}
	var r Route
	c := prompt(96, 0)
	r.Plan(NewTable(nil, []int{4}, holders), 0, c, nil)
	if got := rowsOf(&r, 3); !slices.Equal(got, []int{96, 0, 0}) {
		t.Errorf("expert 0 is one worker's alone, but they get %v", got)
	}
	r.Plan(NewTable(nil, []int{4}, holders), 0, prompt(96, 0, 1, 2), nil)
	got := rowsOf(&r, 3)
	if slices.Max(got) > 110 {
		t.Errorf("288 rows are given out as %v", got)
	}
}

// Work is not shared among more workers than make the slowest one faster.
func TestSharingTakesNoWorkerForNothing(t *testing.T) {
	holders := workers(3)
	for i, set := range []shard.Set{shard.NewSet(0), shard.NewSet(1, 2), shard.NewSet(1, 2)} {
		holders[i].Ready[0] = set
	}
	c := prompt(96, 0) // the first worker is the slowest, whatever the others do
	for range 10 {
		c.Experts = append(c.Experts, 1, 2)
	}
	c.Weights = make([]float32, len(c.Experts))
	var r Route
	r.Plan(NewTable(nil, []int{3}, holders), 0, c, nil)
	if len(r.Calls) != 2 {
		t.Errorf("%d workers are asked, want 2: %+v", len(r.Calls), r.Calls)
	}
}

// With many rows the slowest worker is not much slower than if work could be cut
// as fine as one likes, which no placement beats.
func TestSharingIsNearTheBestThatThereIs(t *testing.T) {
	var r Route
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "workers")
		experts := rapid.IntRange(1, 6).Draw(t, "experts")
		all := make([]int, experts)
		for e := range all {
			all[e] = e
		}
		holders, states, speed := workers(n, all...), make([]State, n), 0.0
		for i := range states {
			states[i].Speed = rapid.SampledFrom([]float64{1, 1.5, 2, 4}).Draw(t, "speed")
			speed += states[i].Speed
		}
		c := Choice{K: 1}
		c.Resize(rapid.IntRange(1, 300).Draw(t, "tokens"))
		rows := make([]int, experts)
		for i := range c.Experts {
			c.Experts[i] = uint32(rapid.IntRange(0, experts-1).Draw(t, "expert"))
			rows[c.Experts[i]]++
		}
		r.Plan(NewTable(nil, []int{experts}, holders), 0, c, states)
		work := 0.0
		for _, m := range rows {
			if m > 0 {
				work += reads(m)
			}
		}
		// Two reads are what cannot be cut on a worker, and gains below a
		// sixteenth are left alone.
		if got, want := slowestCall(&r.balance, r.Calls), 1.2*work/speed+2; got > want {
			t.Fatalf("the slowest takes %v, %v reads over %v of speed", got, work, speed)
		}
	})
}

func TestSharingAllocatesNothing(t *testing.T) {
	holders := workers(3, 0, 1, 2, 3)
	table, c := NewTable(nil, []int{4}, holders), prompt(200, 0, 1, 3)
	states := make([]State, 3)
	var r Route
	layer := func() {
		r.Plan(table, 0, c, states)
		r.Failed(0)
		states[r.Calls[0].Holder].Exclude = true
		r.Again(table, 0, states)
		states[r.Calls[0].Holder].Exclude = false
	}
	layer()
	if n := testing.AllocsPerRun(20, layer); n != 0 {
		t.Errorf("a layer allocates %v times", n)
	}
}
