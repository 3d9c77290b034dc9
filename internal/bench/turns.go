package bench

import (
	"context"
	"math"
	"slices"
	"time"
)

// turn is something that is timed again and again, by turns with others.
type turn struct {
	run func()
	// repeat is how often run is called for one time, because a clock is too coarse for one call.
	repeat int
	times  []float64 // seconds of one call each
	// beside, if set, has a turn after each time: ratios are its times to those just before, which
	// what disturbs a machine for a while does not change.
	beside *turn
	ratios []float64
}

const (
	// leastTimed is the shortest time worth taking: reading the clock takes some 50 ns.
	leastTimed = 100 * time.Microsecond
	maxRepeat  = 1 << 20
	// rounds is how often everybody's turn comes: enough that a disturbance of a second or two
	// spoils no case altogether.
	rounds = 5
)

// takeTurns runs all of them for about so long in all, and at least once each.
func takeTurns(ctx context.Context, turns []*turn, duration time.Duration, round func(int)) error {
	for _, t := range turns {
		if err := ctx.Err(); err != nil {
			return err
		}
		t.calibrate()
	}
	share := duration / time.Duration(rounds*max(len(turns), 1))
	for i := range rounds {
		if round != nil {
			round(i)
		}
		for _, t := range turns {
			if err := ctx.Err(); err != nil {
				return err
			}
			if i == 0 || t.best() < 2*share.Seconds()*rounds {
				t.spend(share)
			}
		}
	}
	return nil
}

// calibrate warms up and chooses repeat.
func (t *turn) calibrate() {
	for t.repeat = 1; ; t.repeat *= 2 {
		if took := t.time(); took >= leastTimed || t.repeat >= maxRepeat {
			return
		}
	}
}

// time returns what repeat calls take.
func (t *turn) time() time.Duration {
	began := time.Now()
	for range t.repeat {
		t.run()
	}
	return time.Since(began)
}

// sample takes a time of one call, in seconds.
func (t *turn) sample() float64 {
	took := t.time().Seconds() / float64(t.repeat)
	t.times = append(t.times, took)
	return took
}

// spend takes times until they have taken so long in all.
func (t *turn) spend(share time.Duration) {
	for spent := time.Duration(0); ; {
		began, took := time.Now(), t.sample()
		if t.beside != nil {
			t.ratios = append(t.ratios, t.beside.sample()/took)
		}
		if spent += time.Since(began); spent >= share {
			return
		}
	}
}

// best returns the shortest time of a call, +Inf before the first.
func (t *turn) best() float64 {
	best := math.Inf(1)
	for _, s := range t.times {
		best = min(best, s)
	}
	return best
}

// noise returns how much longer than the best time the median is.
func (t *turn) noise() float64 {
	return quantile(t.times, 0.5)/t.best() - 1
}

// quantile returns the value that a share q of values does not exceed, 0 of none; it sorts them.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}
