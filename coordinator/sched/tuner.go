package sched

import (
	"math/bits"
	"time"
)

const (
	// tryEvery steps of a size, the number of parts that was slower is tried
	// again: rarely enough to cost little where it is much slower, often enough
	// to notice within seconds that the network has changed.
	tryEvery = 32
	// tunerClasses of sizes: powers of two, up to more rows than any step has.
	tunerClasses = 24
	// weightOfNew is the share of a new measurement in the average; outliers
	// count as at most outlier times the average.
	weightOfNew = 0.2
	outlier     = 3
)

// Tuner chooses in how many parts steps run: one, or two that overlap. Two hide
// the network and the workers' time behind the coordinator's and cost a second
// reading of weights; which is faster depends on machines and load, so it
// measures both. The number of parts changes no result. The zero value is ready
// for use.
type Tuner struct {
	classes [tunerClasses]struct {
		perRow [2]float64 // nanoseconds by parts - 1, 0 before the first step
		steps  int
	}
}

func class(rows int) int { return min(bits.Len(uint(rows)), tunerClasses-1) }

// Parts returns in how many parts a step of so many rows should run.
func (t *Tuner) Parts(rows int) int {
	if rows < 2 {
		return 1
	}
	c := &t.classes[class(rows)]
	c.steps++
	one, two := c.perRow[0], c.perRow[1]
	switch {
	case one == 0:
		return 1
	case two == 0:
		return 2
	}
	better := 1
	if two < one {
		better = 2
	}
	if c.steps%tryEvery == 0 {
		return 3 - better
	}
	return better
}

// Took records how long a step took.
func (t *Tuner) Took(rows, parts int, d time.Duration) {
	if rows < 2 {
		return
	}
	average := &t.classes[class(rows)].perRow[parts-1]
	now := float64(d.Nanoseconds()) / float64(rows)
	if *average == 0 {
		*average = now
		return
	}
	*average += weightOfNew * (min(now, outlier**average) - *average)
}
