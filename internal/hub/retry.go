package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// pace is how fast to try again, and when to give up.
type pace struct {
	first, most time.Duration // waits between tries
	stall       time.Duration // without a byte: the connection is given up
	open, fetch time.Duration // without a byte: the file is given up
}

// defaultPace gives up soon while somebody watches the start, and late where giving up would cost
// a cluster a worker.
func defaultPace() pace {
	return pace{
		first: 200 * time.Millisecond, most: 15 * time.Second, stall: 30 * time.Second,
		open: 15 * time.Second, fetch: 10 * time.Minute,
	}
}

// refusal is an error that trying again does not mend.
type refusal struct{ err error }

// Error implements error.
func (r *refusal) Error() string { return r.err.Error() }

// Unwrap makes errors.Is and errors.As see what is refused.
func (r *refusal) Unwrap() error { return r.err }

func refuse(format string, args ...any) error { return &refusal{fmt.Errorf(format, args...)} }

// temporary tells whether what failed may work later.
func temporary(err error) bool {
	if status := new(statusError); errors.As(err, &status) {
		return status.temporary()
	}
	refused := new(refusal)
	return !errors.As(err, &refused)
}

// troubling is the number of failures in a row that somebody should hear of.
const troubling = 3

// retry repeats try until it returns nil, an error that stays, or only errors for as long as
// patience. try tells whether it came any further.
func (c *client) retry(
	ctx context.Context, name string, patience time.Duration, try func() (bool, error),
) error {
	last, wait := time.Now(), c.pace.first
	for tries := 1; ; tries++ {
		further, err := try()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !temporary(err):
			return c.fileError(name, err)
		}
		if further {
			last, wait, tries = time.Now(), c.pace.first, 1
		}
		left := patience - time.Since(last)
		if left <= 0 {
			return c.fileError(name, fmt.Errorf("gave up after %v: %w", patience, err))
		}
		pause := wait/2 + rand.N(wait/2+1) // many workers would otherwise come back as one
		pause = min(pause, left)           // the last try is at the end of the patience
		if status := new(statusError); errors.As(err, &status) {
			pause = max(pause, status.after)
		}
		level := slog.LevelInfo
		if tries >= troubling {
			level = slog.LevelWarn
		}
		c.log.Log(ctx, level, "reading the model again", "file", name, "from", c.base.Host,
			"err", err, "wait", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		wait = min(2*wait, c.pace.most)
	}
}

// fileError names the file and its origin, but not the whole address.
func (c *client) fileError(name string, err error) error {
	return fmt.Errorf("read %s from %s: %w", name, c.base.Host, err)
}

// retryAfter is what the Retry-After header asks for, within reason.
func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 60)) * time.Second
}

// errStalled is the error of a connection on which nothing arrives.
var errStalled = errors.New("the connection stalled")

// watch returns ctx, which ends when alive has not been called for a while. stop ends the watching.
func (c *client) watch(ctx context.Context) (_ context.Context, alive, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(c.pace.stall, func() { cancel(errStalled) })
	return ctx, func() { timer.Reset(c.pace.stall) }, func() {
		timer.Stop()
		cancel(nil)
	}
}

// bodyError is the error of a body that ended with err before its end.
func bodyError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
