package router

// Limits says how long a call may take.
type Limits struct {
	// HedgeAfter is how many times its 99th percentile a call may take before
	// another replica is asked too; 0: never.
	HedgeAfter float64
	// Ceiling is the longest that any call may take.
	Ceiling int64
}

// Shorter limits than these would be missed whenever the machine is busy with
// something else for a moment; longer ones would be seen by whoever reads
// along.
const (
	leastHedge    = 25 * millisecond
	leastDeadline = 100 * millisecond
)

// deadlineFactor is how many times its 99th percentile a call may take before
// its worker counts as late.
const deadlineFactor = 4

// A call to a worker that nothing is known of has at least leastGuess, which a
// first call on cold memory takes without being at fault, and as long as a slow
// machine needs to work through its experts.
const (
	leastGuess = second
	slowSpeed  = 200 << 20 // bytes of experts in a second
	slowLink   = 25 << 20  // bytes on their way in a second
)

// Guess returns after how long a call is late to a worker that nothing is known
// of. The call works through so many bytes of experts and moves others there and back;
// other workers need no longer than p99 for one of its size, 0 if nothing is known of
// them either.
func (l Limits) Guess(p99 int64, experts, moved float64) (deadline int64) {
	work := (experts/slowSpeed + moved/slowLink) * second
	if work > float64(l.Ceiling) { // also where it would not fit
		return l.Ceiling
	}
	return min(max(leastGuess+int64(work), deadlineFactor*p99), l.Ceiling)
}

// For returns after how long a call is hedged (0: not at all) and after how long
// it is late, if 99 of 100 of its size took no longer than p99, which is known.
func (l Limits) For(p99 int64) (hedge, deadline int64) {
	deadline = min(max(deadlineFactor*p99, leastDeadline), l.Ceiling)
	if l.HedgeAfter > 0 {
		hedge = max(int64(l.HedgeAfter*float64(p99)), leastHedge)
		if hedge >= deadline {
			hedge = 0
		}
	}
	return hedge, deadline
}

// Hedging bounds what is asked twice to one in hedgeOneIn calls.
const (
	hedgeOneIn = 20
	maxHedges  = 10 // at once, after a long quiet time
)

// Budget is the right to ask twice, which calls earn. The zero value has none.
type Budget struct{ twentieths int }

// Called takes in a call.
func (b *Budget) Called() { b.twentieths = min(b.twentieths+1, maxHedges*hedgeOneIn) }

// Return gives a hedge back for which there was nobody to ask.
func (b *Budget) Return() { b.twentieths += hedgeOneIn }

// Spend takes one hedge, if there is one left.
func (b *Budget) Spend() bool {
	if b.twentieths < hedgeOneIn {
		return false
	}
	b.twentieths -= hedgeOneIn
	return true
}
