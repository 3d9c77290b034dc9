package router

import (
	"testing"

	"pgregory.net/rapid"
)

func TestPace(t *testing.T) {
	var p Pace
	if p.P99(4) != 0 || p.Speed() != 0 {
		t.Error("knows what nobody told it")
	}
	for range enoughCalls {
		p.Answered(4, 3*millisecond)
	}
	for rows, want := range map[int]int64{
		4: 3 * millisecond, 7: 3 * millisecond, 1: 3 * millisecond, 8: 6 * millisecond, 40: 24 * millisecond,
	} {
		if got := p.P99(rows); got != want {
			t.Errorf("%d rows: %d, want %d", rows, got, want)
		}
	}
	// One that stood still counts for little, and among many for nothing.
	p.Answered(4, 5*second)
	if got := p.P99(4); got != leastDeadline/deadlineFactor {
		t.Errorf("after a freeze: %d", got)
	}
	for range windowCalls {
		p.Answered(4, 2*millisecond)
	}
	p.Answered(4, 5*second)
	if got := p.P99(4); got != 2*millisecond {
		t.Errorf("one in %d: %d", windowCalls, got)
	}
	p.Answered(1<<30, millisecond) // no size is too large
}

// A worker that becomes slow for good is given the time that it takes.
func TestPaceFollowsASlowWorker(t *testing.T) {
	var p Pace
	limits := Limits{Ceiling: 20 * second}
	for range windowCalls {
		p.Answered(4, millisecond)
	}
	const now = 3 * second
	calls := 0
	for ; calls < 40; calls++ {
		_, deadline := limits.For(p.P99(4))
		if deadline > now {
			break
		}
		p.Answered(4, now)
	}
	if calls == 40 {
		t.Errorf("still late after %d calls", calls)
	}
}

func TestSpeed(t *testing.T) {
	var p, idle Pace
	for i := range 100 {
		p.Worked(1000, 1000)
		if known := p.Speed() > 0; known != (i+1 >= enoughCalls) {
			t.Fatalf("known after %d calls: %v", i+1, known)
		}
	}
	if p.Speed() != second {
		t.Errorf("speed %v", p.Speed())
	}
	p.Worked(1000, 0)
	p.Worked(0, 1000)
	p.Worked(1000, 1000*second) // one hiccup
	if p.Speed() < 0.9*second {
		t.Errorf("one slow call makes it %v", p.Speed())
	}
	for range 1000 {
		p.Relax(2 * second)
		idle.Relax(second)
	}
	if p.Speed() < 1.9*second || idle.Speed() != 0 {
		t.Errorf("relaxed to %v, %v", p.Speed(), idle.Speed())
	}
}

func TestLimits(t *testing.T) {
	l := Limits{HedgeAfter: 2, Ceiling: 20 * second}
	for _, c := range []struct{ p99, hedge, deadline int64 }{
		{millisecond, leastHedge, leastDeadline},
		{30 * millisecond, 60 * millisecond, 120 * millisecond},
		{10 * second, 0, 20 * second},
	} {
		if hedge, deadline := l.For(c.p99); hedge != c.hedge || deadline != c.deadline {
			t.Errorf("p99 %d: %d and %d, want %d and %d", c.p99, hedge, deadline, c.hedge, c.deadline)
		}
	}
	for _, c := range []struct {
		others, deadline int64
		experts, moved   float64
	}{
		{0, leastGuess, 0, 0},
		{30 * millisecond, leastGuess, 0, 0},
		{second, deadlineFactor * second, 0, 0},
		{0, leastGuess + 5*second, 2 * slowSpeed, 3 * slowLink},
		{10 * second, 20 * second, 0, 0},
		{0, 20 * second, 1e30, 1},
	} {
		if got := l.Guess(c.others, c.experts, c.moved); got != c.deadline {
			t.Errorf("%+v: guessed %d", c, got)
		}
	}
	if hedge, _ := (Limits{Ceiling: second}).For(millisecond); hedge != 0 {
		t.Error("hedges though it must not")
	}
}

// However calls and hedges come, at most one in twenty is hedged.
func TestBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Budget
		calls, hedges := 0, 0
		for range rapid.IntRange(0, 2000).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "hedge") == 0 {
				if b.Spend() {
					hedges++
				}
			} else {
				b.Called()
				calls++
			}
			if hedges*hedgeOneIn > calls {
				t.Fatalf("%d hedges of %d calls", hedges, calls)
			}
		}
	})
	var b Budget
	for range 100_000 {
		b.Called()
	}
	n := 0
	for b.Spend() {
		n++
	}
	if n != maxHedges {
		t.Errorf("%d hedges at once", n)
	}
}

func TestHealth(t *testing.T) {
	var h Health
	expect := func(when string, now int64, usable, ejected bool) {
		t.Helper()
		if h.Usable(now) != usable || h.Ejected() != ejected {
			t.Errorf("%s: usable %v, ejected %v", when, h.Usable(now), h.Ejected())
		}
	}
	expect("at first", 0, true, false)
	h.Missed(1)
	h.Missed(2)
	h.Answered()
	if h.Missed(3) || h.Missed(4) {
		t.Error("ejected after two in a row")
	}
	expect("late, but not often enough", 4, true, false)
	if !h.Missed(5) {
		t.Error("not ejected after three in a row")
	}
	expect("ejected", 6, false, true)
	h.Answered() // what had been asked before
	expect("still", 7, false, true)
	now := int64(5 + firstRespite)
	expect("it may try", now, true, true)
	h.Asked(now)
	expect("one call only", now+1, false, true)
	if !h.Missed(now + 2) {
		t.Error("a failed trial does not eject")
	}
	expect("twice as long", now+2+firstRespite, false, true)
	now += 2 + 2*firstRespite
	h.Asked(now)
	h.Answered()
	expect("proved", now, true, false)
	for range 3 * 10 {
		h.Missed(now)
	}
	expect("never longer than this", now+lastRespite, true, true)
	h.Late(now) // of a call before
	expect("a late answer is no second miss", now+lastRespite, true, true)
	h.Asked(now + lastRespite)
	h.Late(now + lastRespite + 1)
	expect("a trial that nobody waited for", now+2*lastRespite, false, true)
	expect("and the next one", now+2*lastRespite+1, true, true)
	h.Asked(now + 2*lastRespite + 1)
	h.Renewed()
	expect("a new lane", now+lastRespite, true, false)
}
