package direct

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-serve/conclave/internal/wire"
)

const (
	// writeTimeout is how long a peer may leave what was written unread, or up to twice that.
	writeTimeout = 20 * time.Second
	// maxRare bounds what is kept for a peer that asks and does not read.
	maxRare = 16 << 10
	// batchBytes of frames are written together where messages take several.
	batchBytes = 128 << 10
)

// writer is what goes out of a link.
type writer struct {
	mu      sync.Mutex // whoever writes
	due     time.Time  // until when that may take
	scratch []byte     // of the message that is being sent, by its sender
	batch   []byte

	flow    sync.Mutex
	window  int64 // of the connection
	initial int64 // of new streams
	frame   int   // the largest that the peer takes
	streams []*stream
	widened chan struct{} // buffer 1: there may be more window, or nobody who reads
	waiting atomic.Int32  // who waits for window

	rareMu sync.Mutex
	rare   []byte // waits for the flusher
	busy   bool   // there is one
}

func (w *writer) init() {
	w.window, w.initial, w.frame = firstWindow, firstWindow, firstFrame
	w.widened = make(chan struct{}, 1)
}

// open makes a stream's window.
func (w *writer) open(s *stream) {
	w.flow.Lock()
	defer w.flow.Unlock()
	s.window = w.initial
	w.streams = append(w.streams, s)
}

// close forgets a stream.
func (w *writer) close(s *stream) {
	w.flow.Lock()
	defer w.flow.Unlock()
	for i, other := range w.streams {
		if other == s {
			w.streams = append(w.streams[:i], w.streams[i+1:]...)
			return
		}
	}
}

// widen adds to the window of a stream, or to that of the connection if s is nil.
func (w *writer) widen(s *stream, n uint32) error {
	w.flow.Lock()
	defer w.flow.Unlock()
	window := &w.window
	if s != nil {
		window = &s.window
	}
	if *window += int64(n); *window > maxWindow || n == 0 {
		return broken(http2.ErrCodeFlowControl, "a window of %d bytes, by %d", *window, n)
	}
	w.tell()
	return nil
}

// rebase changes what streams began with.
func (w *writer) rebase(initial int64) error {
	w.flow.Lock()
	defer w.flow.Unlock()
	for _, s := range w.streams {
		if s.window += initial - w.initial; s.window > maxWindow {
			return broken(http2.ErrCodeFlowControl, "a window of %d bytes", s.window)
		}
	}
	w.initial = initial
	w.tell()
	return nil
}

func (w *writer) setFrame(n int) {
	w.flow.Lock()
	defer w.flow.Unlock()
	w.frame = n
}

// tell wakes who waits for window.
func (w *writer) tell() {
	select {
	case w.widened <- struct{}{}:
	default: // nobody has looked since the last time
	}
}

// claim takes up to n bytes of window for one frame; 0 if there is none.
func (w *writer) claim(s *stream, n int) int {
	w.flow.Lock()
	defer w.flow.Unlock()
	n = int(min(int64(min(n, w.frame)), w.window, s.window))
	if n <= 0 {
		return 0
	}
	w.window -= int64(n)
	s.window -= int64(n)
	return n
}

// farewell writes b if that takes no time. mu is held.
func (w *writer) farewell(conn net.Conn, b []byte) {
	_ = conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	_, _ = conn.Write(b) // whoever does not hear it sees the connection end
}

// write writes b as it is.
func (l *link) write(b []byte) error {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return l.writeLocked(b)
}

func (l *link) writeLocked(b []byte) error {
	if now := time.Now(); l.out.due.Sub(now) < writeTimeout {
		l.out.due = now.Add(2 * writeTimeout)
		if err := l.conn.SetWriteDeadline(l.out.due); err != nil {
			return l.fail(err)
		}
	}
	if _, err := l.conn.Write(b); err != nil {
		return l.fail(err)
	}
	return nil
}

// rare writes frames that nobody waits for, by a goroutine of their own: a reader that waited for
// the peer to read could keep both from it.
func (l *link) rare(b []byte) {
	w := &l.out
	w.rareMu.Lock()
	defer w.rareMu.Unlock()
	if len(w.rare)+len(b) > maxRare {
		l.end(broken(http2.ErrCodeEnhanceYourCalm, "it asks more than it reads"))
		return
	}
	w.rare = append(w.rare, b...)
	if w.busy {
		return
	}
	w.busy = true
	l.wg.Go(l.flush)
}

func (l *link) flush() {
	w := &l.out
	var b []byte
	for {
		w.rareMu.Lock()
		b, w.rare = w.rare, b[:0]
		if len(b) == 0 {
			w.busy = false
			w.rareMu.Unlock()
			return
		}
		w.rareMu.Unlock()
		if l.write(b) != nil {
			return // the link has ended, and busy keeps others from trying
		}
	}
}

// send writes a message of a lane on a stream.
func (l *link) send(s *stream, m any) error {
	piece, scratch, err := wire.OnePiece(m, frontBytes, l.out.scratch)
	l.out.scratch = scratch
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	defer wire.ReleasePiece(m)
	if cap(scratch) > maxScratch {
		l.out.scratch = nil
	}
	if n := len(piece) - frontBytes; n > l.maxMessage {
		return status.Errorf(codes.ResourceExhausted,
			"direct: trying to send message larger than max (%d vs. %d)", n, l.maxMessage)
	}
	return l.sendPiece(s, piece)
}

// maxScratch is what is kept of a message that was laid out anew.
const maxScratch = 1 << 20

// sendPiece writes a message that has frontBytes of room before it.
func (l *link) sendPiece(s *stream, piece []byte) error {
	prefix := piece[headerBytes:]
	n := len(piece) - frontBytes
	prefix[0], prefix[1], prefix[2], prefix[3], prefix[4] =
		0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	data := piece[headerBytes:]
	k, err := l.claim(s, len(data))
	if err != nil {
		return err
	}
	if k == len(data) {
		header{k, http2.FrameData, 0, s.id}.put(piece)
		return l.write(piece)
	}
	return l.sendFrames(s, data, k)
}

// sendFrames writes data in several frames, of which the first has claimed k bytes.
func (l *link) sendFrames(s *stream, data []byte, k int) error {
	w := &l.out
	defer func() { w.batch = w.batch[:0] }()
	for {
		w.batch = appendFrame(w.batch, http2.FrameData, 0, s.id, data[:k])
		if data = data[k:]; len(data) == 0 {
			return l.write(w.batch)
		}
		if len(w.batch) < batchBytes {
			if k = w.claim(s, len(data)); k > 0 {
				continue
			}
		}
		err := l.write(w.batch)
		if err != nil {
			return err
		}
		if w.batch = w.batch[:0]; cap(w.batch) > 2*batchBytes {
			w.batch = nil
		}
		if k, err = l.claim(s, len(data)); err != nil {
			return err
		}
	}
}

// claim waits for window for a frame of up to n bytes.
func (l *link) claim(s *stream, n int) (int, error) {
	for {
		if k := l.out.claim(s, n); k > 0 {
			return k, nil
		}
		if err := l.waitForWindow(s); err != nil {
			return 0, err
		}
	}
}

// waitForWindow waits until there may be more window than there was. If nobody else reads, it
// does.
func (l *link) waitForWindow(s *stream) error {
	l.out.waiting.Add(1)
	defer l.out.waiting.Add(-1)
	if s.inner {
		return errors.Join(l.readAhead(windowBytes+maxAhead), s.lost())
	}
	if l.wanted.Load() == 0 && l.reading.TryLock() {
		defer l.unlock()
		if err := l.readAhead(windowBytes + maxAhead); err != nil {
			return l.fail(err)
		}
		return s.lost()
	}
	select {
	case <-l.out.widened:
	case <-s.ctx.Done():
	case <-l.ctx.Done():
		return l.err()
	}
	return s.lost()
}

// lost is the error of a stream that nobody waits for any more.
func (s *stream) lost() error {
	if s.ctx.Err() != nil {
		return status.FromContextError(s.ctx.Err()).Err()
	}
	return nil
}
