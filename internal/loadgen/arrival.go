package loadgen

import (
	"math/rand/v2"
	"time"
)

// Arrival is how requests that come at a rate are spread over time.
type Arrival string

// Kinds of arrival.
const (
	Fixed   Arrival = "fixed"   // the same gap between any two
	Poisson Arrival = "poisson" // independent of one another: exponential gaps, bursts and lulls
)

// arrivals says when requests are due, from the first one, which is due at once.
type arrivals struct {
	rate   float64 // per second; 0: all are due at once, and wait for a free place
	random *rand.Rand
	count  int
	at     float64 // seconds; of the last Poisson arrival
}

func newArrivals(kind Arrival, rate float64, seed uint64) *arrivals {
	a := &arrivals{rate: rate}
	if kind == Poisson {
		a.random = stream(seed, ofArrivals, 0)
	}
	return a
}

// next returns when the next request is due, since the first.
func (a *arrivals) next() time.Duration {
	n := a.count
	a.count++
	switch {
	case a.rate == 0 || n == 0:
		return 0
	case a.random == nil:
		return seconds(float64(n) / a.rate) // not added up: no rounding error grows
	}
	a.at += a.random.ExpFloat64() / a.rate
	return seconds(a.at)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Purposes of random numbers: each has a stream of its own, so that one more draw for one of them
// changes nothing for the others.
const (
	ofRequests = iota + 1
	ofArrivals
	ofPrefixes
	ofWarmup
	ofProbes
)

// stream returns the random numbers of one thing: of request i, of prefix i.
func stream(seed uint64, purpose, i int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(purpose)<<48|uint64(i)))
}
