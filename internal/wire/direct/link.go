package direct

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

const (
	// bufferBytes is what is read at once, unless it goes where it belongs without a detour.
	bufferBytes = 64 << 10
	// A connection that has been silent for pingAfter is asked for a sign of life, and given
	// pingTimeout to show one: as wire's options say it of stock gRPC.
	pingAfter   = 10 * time.Second
	pingTimeout = 10 * time.Second
	// calmFrames other frames may come between two messages within calmFor.
	calmFrames = 1000
	calmFor    = 10 * time.Second
)

// link is one end of a connection: HTTP/2 frames as they come and go. Fields of the reader are
// guarded by reading, unless they say otherwise.
type link struct {
	conn       net.Conn
	maxMessage int
	events     events
	out        writer

	reading sync.Mutex
	wanted  atomic.Int32 // who waits for reading to receive a message

	buf    []byte
	r, w   int   // what of buf is not dealt with yet
	pos    int64 // of buf[r] in all that has come
	seen   int64 // up to where frames that concern the connection were dealt with
	heard  time.Time
	asked  time.Time // when a sign of life was asked for; zero if it came
	reader *headerReader

	cur   *stream // whose data is at hand
	left  int     // of it in this frame
	pad   int     // behind it
	last  bool    // the peer has no more behind it
	owed  int     // window that was used and not granted again
	calm  int     // frames since the last message, from
	since time.Time

	block       []byte // of headers that are not complete
	blockStream uint32 // 0: of none
	blockEnd    bool   // the stream ends with them
	settled     bool   // the peer's settings have come

	halt  atomic.Bool // the reader is to stop at once
	brief bool        // the reader stops at the deadline
	until time.Time   // the deadline of reading where it is brief; zero: another

	ctx    context.Context // ends when the connection is of no more use; its cause says why
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

// events is what a link tells the end that it belongs to. Its methods are called by the reader.
type events interface {
	// stream returns the one that has an id; nil if there is none, or none any more.
	stream(id uint32) *stream
	// headers has a complete block.
	headers(id uint32, f *fields, end bool) error
	// gathered says that a stream whose data is gathered has ended.
	gathered(s *stream) error
	// reset ends a stream by the peer's wish; the link ends all by goAway.
	reset(s *stream, code http2.ErrCode)
	goAway(last uint32, code http2.ErrCode)
	// quiet is asked now and then while nothing comes; an error ends the wait.
	quiet(now time.Time) error
}

// stream is what both ends know of one.
type stream struct {
	id     uint32
	gather int    // most bytes to gather of its data; 0: they are received as they come
	body   []byte // gathered
	full   bool   // there was more
	window int64  // what the peer takes; guarded by the link's out.flow
	ended  bool   // the peer has said all
	busy   bool   // its answer is being sent
	inner  bool   // whoever sends on it is the connection's reader at that time
	// ctx ends when nobody waits for the stream any more.
	ctx    context.Context
	cancel context.CancelFunc
}

func newLink(conn net.Conn, maxMessage int, e events) *link {
	l := &link{
		conn: conn, maxMessage: maxMessage, events: e, buf: make([]byte, bufferBytes),
		reader: newHeaderReader(), heard: time.Now(),
	}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.since = l.heard
	l.out.init()
	return l
}

// end closes the connection; the first reason is what everybody learns.
func (l *link) end(why error) {
	l.cancel(why)
	_ = l.conn.Close() // wakes who reads or writes
}

// err is why the connection is of no more use; nil while it is.
func (l *link) err() error { return context.Cause(l.ctx) }

// fail is end for a reader, who tells the peer why.
func (l *link) fail(err error) error {
	if l.err() == nil {
		if code := codeOf(err); code != http2.ErrCodeNo && l.out.mu.TryLock() {
			l.out.farewell(l.conn, appendGoAway(nil, 0, code))
			l.out.mu.Unlock()
		}
		l.end(err)
	}
	return l.err()
}

var (
	errHalted = errors.New("reading was interrupted")
	errSilent = fmt.Errorf("the connection has shown no sign of life for %v", pingAfter+pingTimeout)
)

// read is conn.Read, which looks after the connection while nothing comes.
func (l *link) read(p []byte) (int, error) {
	for tries := 0; ; tries++ {
		n, err := l.conn.Read(p)
		if n > 0 {
			l.heard = time.Now()
			if !l.asked.IsZero() {
				l.asked = time.Time{}
			}
			return n, nil // an error comes again
		}
		switch {
		case err == nil && tries > 100:
			return 0, io.ErrNoProgress
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := l.look(); err != nil {
				return 0, err
			}
		default:
			return 0, err
		}
	}
}

// look is what is done about a connection on which nothing came until the deadline.
func (l *link) look() error {
	if l.halt.Load() || l.brief {
		return errHalted
	}
	now := time.Now()
	l.until = time.Time{}
	if err := l.events.quiet(now); err != nil {
		return err
	}
	switch {
	case now.Sub(l.heard) < pingAfter:
		return l.waitUntil(l.heard.Add(pingAfter))
	case l.asked.IsZero():
		l.asked = now
		l.rare(appendFrame(nil, http2.FramePing, 0, 0, make([]byte, 8)))
		return l.waitUntil(now.Add(pingTimeout))
	case now.Sub(l.asked) < pingTimeout:
		return l.waitUntil(l.asked.Add(pingTimeout))
	}
	return errSilent
}

// waitUntil moves the deadline of reading, unless somebody wants it to end now.
func (l *link) waitUntil(t time.Time) error {
	if err := l.conn.SetReadDeadline(t); err != nil {
		return err
	}
	if l.halt.Load() {
		return errHalted
	}
	return nil
}

// interrupt makes whoever reads stop; the caller may read when it returns.
func (l *link) interrupt() {
	l.halt.Store(true)
	_ = l.conn.SetReadDeadline(time.Unix(1, 0)) // a closed one reads no more
	l.lock()
	l.halt.Store(false)
	_ = l.conn.SetReadDeadline(l.heard.Add(pingAfter))
}

// fill reads what there is, so that n bytes fit behind r.
func (l *link) fill(n int) error {
	if l.r == l.w {
		l.r, l.w = 0, 0
	}
	if n > len(l.buf)-l.r || l.w == len(l.buf) {
		if n > len(l.buf) {
			grown := make([]byte, max(n, 2*len(l.buf)))
			l.w = copy(grown, l.buf[l.r:l.w])
			l.buf = grown
		} else {
			l.w = copy(l.buf, l.buf[l.r:l.w])
		}
		l.r = 0
	}
	k, err := l.read(l.buf[l.w:])
	l.w += k
	return err
}

// need waits until n bytes are there.
func (l *link) need(n int) error {
	for l.w-l.r < n {
		if err := l.fill(n); err != nil {
			return err
		}
	}
	return nil
}

// take returns the next n bytes, which are valid until something is read.
func (l *link) take(n int) ([]byte, error) {
	if err := l.need(n); err != nil {
		return nil, err
	}
	b := l.buf[l.r : l.r+n]
	l.skip(n)
	return b, nil
}

// skip leaves n bytes behind that are there.
func (l *link) skip(n int) {
	l.r += n
	l.pos += int64(n)
	if l.r == l.w && len(l.buf) > bufferBytes {
		l.buf, l.r, l.w = make([]byte, bufferBytes), 0, 0 // it was read ahead
	}
}

// discard passes over n bytes, which may be more than the buffer has.
func (l *link) discard(n int) error {
	for n > 0 {
		if err := l.need(1); err != nil {
			return err
		}
		k := min(n, l.w-l.r)
		l.skip(k)
		n -= k
	}
	return nil
}

// readData reads data of the frame at hand: from the buffer, or past it if there is much.
func (l *link) readData(p []byte) (int, error) {
	p = p[:min(len(p), l.left)]
	if l.r == l.w && len(p) >= bufferBytes/4 {
		n, err := l.read(p)
		l.pos += int64(n)
		l.left -= n
		return n, err
	}
	if err := l.need(1); err != nil {
		return 0, err
	}
	n := copy(p, l.buf[l.r:l.w])
	l.skip(n)
	l.left -= n
	return n, nil
}

// leave passes over what is left of the data at hand.
func (l *link) leave() error {
	if l.cur == nil {
		return nil
	}
	n := l.left + l.pad
	l.left, l.pad = 0, 0
	if err := l.discard(n); err != nil {
		return err
	}
	if l.last {
		l.cur.ended = true
	}
	l.cur, l.last = nil, false
	return nil
}

// awaitWithin is await for about d, up to twice that; it stops between frames. The deadline is
// moved only when it is near.
func (l *link) awaitWithin(s *stream, d time.Duration) (bool, error) {
	for {
		if l.left+l.pad == 0 {
			if err := l.leave(); err != nil { // nothing is read for that
				return false, err
			}
		}
		if l.cur == s && l.left > 0 || l.cur == nil && s.ended {
			return true, nil
		}
		if l.cur == nil && l.w-l.r < headerBytes {
			now := time.Now()
			if left := l.until.Sub(now); left < d || left > 2*d {
				l.until = now.Add(2 * d)
				if err := l.conn.SetReadDeadline(l.until); err != nil {
					return false, err
				}
			}
			l.brief = true
			err := l.need(headerBytes)
			l.brief = false
			if errors.Is(err, errHalted) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
		}
		if err := l.step(); err != nil {
			return false, err
		}
	}
}

// await reads frames until data of a stream is at hand, or it has ended: false.
func (l *link) await(s *stream) (bool, error) {
	for {
		if l.cur == s && l.left > 0 {
			return true, nil
		}
		if l.cur == nil && s.ended {
			return false, nil
		}
		if err := l.step(); err != nil {
			return false, err
		}
	}
}
