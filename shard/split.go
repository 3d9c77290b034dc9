package shard

import "math"

// layerLoad is one layer's experts, their copies and the load on them. Times
// are what a worker computes of a second.
type layerLoad struct {
	load    []float64 // by expert: reads in a second
	speed   []float64 // by worker: reads that it does in a second
	holders [][]int   // by expert: the workers that hold it
}

// Sweeps of split end when one of them lowers the slowest worker's time by less
// than splitTolerance, and in any case after maxSweeps.
const (
	splitTolerance = 1e-4
	maxSweeps      = 60
)

// split divides each expert's reads among its holders so that the slowest worker
// is as fast as can be, which is what router does from step to step, and returns
// the workers' times. It goes round the experts and pours each anew where it is
// done first: the sum of squared times shrinks to its minimum, which has no
// smaller maximum beside it.
func (l *layerLoad) split() []float64 {
	times := make([]float64, len(l.speed))
	parts := make([][]float64, len(l.load))
	total, power := 0.0, 0.0
	for _, v := range l.speed {
		power += v
	}
	for e, holders := range l.holders {
		total += l.load[e]
		parts[e] = make([]float64, len(holders))
		sum := 0.0
		for _, w := range holders {
			sum += l.speed[w]
		}
		for i, w := range holders {
			parts[e][i] = l.load[e] * l.speed[w] / sum
			times[w] += l.load[e] / sum
		}
	}
	least := total / power
	before := math.Inf(1)
	for range maxSweeps {
		now := maxOf(times)
		if now >= before*(1-splitTolerance) || now <= least*(1+splitTolerance) {
			break
		}
		before = now
		for e, holders := range l.holders {
			if len(holders) > 1 && l.load[e] > 0 {
				l.pour(e, parts[e], times)
			}
		}
	}
	return times
}

// pour divides an expert's reads anew: its holders rise to one level, those that
// are above it already get nothing.
func (l *layerLoad) pour(e int, parts, times []float64) {
	holders := l.holders[e]
	for i, w := range holders {
		times[w] = max(times[w]-parts[i]/l.speed[w], 0)
		parts[i] = 0
	}
	level := math.Inf(1)
	for range holders {
		// The level that those below the last one found would rise to.
		work, power := l.load[e], 0.0
		for _, w := range holders {
			if times[w] < level {
				work += times[w] * l.speed[w]
				power += l.speed[w]
			}
		}
		next := work / power
		if next >= level {
			break
		}
		level = next
	}
	for i, w := range holders {
		if times[w] < level {
			parts[i] = (level - times[w]) * l.speed[w]
			times[w] = level
		}
	}
}

func maxOf(times []float64) float64 {
	most := 0.0
	for _, v := range times {
		most = max(most, v)
	}
	return most
}

func meanOf(times []float64) float64 {
	sum := 0.0
	for _, v := range times {
		sum += v
	}
	return sum / float64(max(len(times), 1))
}
