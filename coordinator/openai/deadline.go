package openai

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// timeoutHeader is how a request says for how many seconds it may go on.
const timeoutHeader = "X-Request-Timeout"

// maxTimeout is far beyond any answer, and within what a Duration can say.
const maxTimeout = 1e9 // seconds

// timed gives a request its deadline: the sooner one of what it asks for and
// what the server grants.
func (s *Server) timed(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request, x *exchange) *apiError {
		timeout := s.cfg.RequestTimeout
		if asked := r.Header.Get(timeoutHeader); asked != "" {
			seconds, err := strconv.ParseFloat(asked, 64)
			if err != nil || !(seconds > 0) || seconds > maxTimeout {
				return invalid(timeoutHeader, "Invalid value for the header '%s': must be a number "+
					"of seconds above 0, got %q.", timeoutHeader, clip([]byte(asked)))
			}
			own := time.Duration(seconds * float64(time.Second))
			if timeout == 0 || own < timeout {
				timeout = max(own, 1)
			}
		}
		if timeout > 0 {
			x.deadline = x.started.Add(timeout)
		}
		return h(w, r, x)
	}
}

// within returns ctx with the request's deadline, if it has one.
func (x *exchange) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if x.deadline.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, x.deadline)
}

// pace is how long completions take from their first token to their last, as an
// average in which the latest count most.
type pace struct {
	mu   sync.Mutex
	mean float64 // seconds; 0 before there is one
}

// paceWeight is what the latest completion counts for in the average: about the
// last twenty tell.
const paceWeight = 0.05

func (p *pace) add(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mean == 0 {
		p.mean = took.Seconds()
		return
	}
	p.mean += paceWeight * (took.Seconds() - p.mean)
}

// maxRetry bounds, in seconds, what a client is told to wait: by then the queue
// may be another.
const maxRetry = 60

// retryAfter is in how many seconds a place in a full queue will have become
// free: one does whenever a running completion ends.
func (s *Server) retryAfter() int {
	s.pace.mu.Lock()
	mean := s.pace.mean
	s.pace.mu.Unlock()
	running := max(s.cfg.Engine.Stats().Running, 1)
	return int(min(max(math.Ceil(mean/float64(running)), retrySeconds), maxRetry))
}
