package router

// A worker that is late so often in a row is left alone for a while, which
// doubles each time.
const (
	maxMisses    = 3
	firstRespite = second
	lastRespite  = 30 * second
)

// Health says whether a worker that answers late may be asked again. It knows
// nothing of broken lanes. Times are nanoseconds of any clock that never goes
// back. The zero value is healthy.
//
// A worker is healthy, ejected until a time, or on probation: after that time it
// gets one call, and only an answer in time makes it healthy again.
type Health struct {
	misses    int
	until     int64 // ejected until then; 0: not ejected
	respite   int64 // the last one
	probation bool  // its one call is under way
}

// Usable reports whether the worker may be asked.
func (h *Health) Usable(now int64) bool { return !h.probation && now >= h.until }

// Ejected reports whether the worker has yet to prove itself.
func (h *Health) Ejected() bool { return h.probation || h.until > 0 }

// Asked takes in that a call goes to the worker.
func (h *Health) Asked(now int64) {
	if h.until > 0 && now >= h.until {
		h.probation = true
	}
}

// Missed takes in that the worker has not answered in time, and reports whether
// that ejects it.
func (h *Health) Missed(now int64) (ejected bool) {
	h.misses++
	if !h.probation && h.misses < maxMisses {
		return false
	}
	h.respite = min(max(2*h.respite, firstRespite), lastRespite)
	h.until, h.misses, h.probation = now+h.respite, 0, false
	return true
}

// Late takes in, at the time now, an answer that came too late. On probation the
// worker stays ejected, for longer, also if nobody was waiting for that answer any
// more and so nobody missed it.
func (h *Health) Late(now int64) {
	if h.probation {
		h.Missed(now)
	}
}

// Answered takes in an answer in time.
func (h *Health) Answered() {
	h.misses = 0
	if h.probation {
		*h = Health{}
	}
}

// Renewed takes in that the worker has a new lane: what the last one owed is
// forgotten, but not how long the last respite was.
func (h *Health) Renewed() { h.until, h.misses, h.probation = 0, 0, false }
