package kernels

import "time"

// How long a thread looks for news before it parks. It is a time, not a count, since the
// processor's pause takes 10 cycles on some and 140 on others.
const (
	// After a job: less than what waking it would cost, some 30 µs where the processor sleeps
	// meanwhile. Longer would take the processor from others for nothing.
	spinFor = 5 * time.Microsecond
	// While other threads are at a job's last items, which are some 50 µs at most.
	spinAtJob = 60 * time.Microsecond
)

// looks is how often a thread looks before it asks for the time, which costs more than a look.
const looks = 16

// spinner is one wait. The zero value does not wait at all.
type spinner struct {
	looked       int
	begun, until time.Time
	on           bool
}

// spin begins a wait; with one processor there is nobody to wait for.
func (p *Pool) spin() spinner { return spinner{on: p.spins} }

// more reports whether to look once more; atJob says that a job is going on. It lets the core's
// other thread run meanwhile.
func (s *spinner) more(atJob bool) bool {
	if !s.on {
		return false
	}
	if s.looked++; s.looked == 1 {
		return true // what is there already needs no clock
	}
	if s.begun.IsZero() {
		s.begun = time.Now()
		s.until = s.begun.Add(spinFor)
	}
	if s.looked%looks == 0 {
		now := time.Now()
		if atJob && now.Sub(s.begun) < spinAtJob {
			s.until = now.Add(spinFor)
		}
		if now.After(s.until) {
			return false
		}
		if now.Sub(s.begun) > spinFor {
			yield() // the job may be waiting for this very processor
		}
	}
	relax()
	return true
}
