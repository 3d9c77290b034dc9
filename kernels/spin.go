package kernels

import "time"

// spinFor is how long a thread looks for news before it parks: about what waking it would cost.
// Longer would take the processor from others for nothing. It is a time, not a count, since the
// processor's pause takes 10 cycles on some and 140 on others.
const spinFor = 5 * time.Microsecond

// looks is how often a thread looks before it asks for the time, which costs more than a look.
const looks = 16

// spinner is one wait. The zero value does not wait at all.
type spinner struct {
	looked int
	begun  time.Time
	on     bool
}

// spin begins a wait; with one processor there is nobody to wait for.
func (p *Pool) spin() spinner { return spinner{on: p.spins} }

// more reports whether to look once more. It lets the core's other thread run meanwhile.
func (s *spinner) more() bool {
	if !s.on {
		return false
	}
	if s.looked++; s.looked == 1 {
		return true // what is there already needs no clock
	}
	if s.begun.IsZero() {
		s.begun = time.Now()
	} else if s.looked%looks == 0 && time.Since(s.begun) > spinFor {
		return false
	}
	relax()
	return true
}
