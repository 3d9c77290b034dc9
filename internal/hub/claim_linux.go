package hub

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// claimSpan takes a lock on a span of a file of locks, unless somebody has one that overlaps.
func claimSpan(path string, s span) (release func(), got bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, false, fmt.Errorf("claim a part of a file: %w", diskError(err))
	}
	// The lock belongs to this open file, not to the process: goroutines exclude each other too.
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: s.begin, Len: s.bytes()}
	switch err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); {
	case err == nil:
		return func() { _ = f.Close() }, true, nil // nothing was written
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES):
		return nil, false, f.Close()
	case errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.EINVAL):
		return func() {}, true, f.Close() // no such locks here: read twice rather than not at all
	default:
		return nil, false, errors.Join(fmt.Errorf("claim a part of a file: %w", err), f.Close())
	}
}
