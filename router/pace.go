package router

import "math/bits"

// Times are in nanoseconds: this package has no clock.
const (
	millisecond = 1_000_000
	second      = 1000 * millisecond
)

// windowCalls is how many calls of a size are remembered. Fewer would make the
// 99th percentile the maximum, more would remember a busy hour for too long.
const windowCalls = 128

// enoughCalls is how many calls of a size say something about the next.
const enoughCalls = 8

// sizes is the number of sizes of calls that are told apart: powers of two of
// their rows.
const sizes = 20

// Pace is what is known of how fast one worker answers. The zero value knows
// nothing.
type Pace struct {
	recent [sizes]window
	speed  float64
	worked int // calls that the speed was measured by
}

// window is the time that the last calls of one size took.
type window struct {
	nanos [windowCalls]int64
	n     int // calls ever
}

// add remembers a call.
func (w *window) add(nanos int64) {
	w.nanos[w.n%windowCalls] = nanos
	w.n++
}

// p99 is the second largest of a full window, the largest of a smaller one.
func (w *window) p99() int64 {
	var first, second int64
	for _, v := range w.nanos[:min(w.n, windowCalls)] {
		switch {
		case v > first:
			first, second = v, first
		case v > second:
			second = v
		}
	}
	if w.n >= windowCalls {
		return second
	}
	return first
}

func sizeOf(rows int) int { return min(bits.Len(uint(rows)), sizes-1) }

// Answered takes in that a call with so many rows took so long. One that was late
// counts as half as long again as the present percentile at most: a worker that
// stood still is not given as long ever after, while one that has become slow is
// given more with each call.
func (p *Pace) Answered(rows int, nanos int64) {
	if p99 := p.P99(rows); p99 > 0 {
		nanos = min(nanos, max(p99+p99/2, leastDeadline/deadlineFactor))
	}
	p.recent[sizeOf(rows)].add(nanos)
}

// P99 returns what 99 of 100 calls with so many rows take at most, 0 if nothing
// is known. Where there are too few of this size, the nearest smaller one is
// scaled by rows, or the nearest larger one is taken as it is.
func (p *Pace) P99(rows int) int64 {
	size := sizeOf(rows)
	for by := range sizes {
		if at := size - by; at >= 0 && p.recent[at].n >= enoughCalls {
			return p.recent[at].p99() << by
		}
		if at := size + by; at < sizes && p.recent[at].n >= enoughCalls {
			return p.recent[at].p99()
		}
	}
	return 0
}

// speedMemory is how many calls make the mean of the speed.
const speedMemory = 32

// Worked takes in that a worker has computed so many bytes of experts in so
// long.
func (p *Pace) Worked(bytes, nanos int64) {
	if bytes <= 0 || nanos <= 0 {
		return
	}
	v := float64(bytes) * second / float64(nanos)
	p.worked = min(p.worked+1, speedMemory)
	p.speed += (v - p.speed) / float64(p.worked)
}

// Speed returns the bytes of experts that the worker works through in a second,
// 0 if it has not been measured often enough: the first calls read cold memory.
func (p *Pace) Speed() float64 {
	if p.worked < enoughCalls {
		return 0
	}
	return p.speed
}

// relaxBy is how much of its difference to the others a speed loses with each
// step: little to what calls add, enough that one that is not asked because it
// once was slow is asked again.
const relaxBy = 0.005

// Relax moves the speed a little towards that of the others.
func (p *Pace) Relax(mean float64) {
	if p.worked > 0 && mean > 0 {
		p.speed += (mean - p.speed) * relaxBy
	}
}
