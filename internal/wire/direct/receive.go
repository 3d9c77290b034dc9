package direct

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-serve/conclave/internal/wire"
)

// incoming is a message as it comes: a wire.Source. It may lie in any number of frames.
type incoming struct {
	link   *link
	stream *stream
	size   int // bytes that are left of it
}

var _ wire.Source = (*incoming)(nil)

// Remaining implements wire.Source.
func (m *incoming) Remaining() int { return m.size }

// Read implements io.Reader.
func (m *incoming) Read(p []byte) (int, error) {
	if m.size == 0 {
		return 0, io.EOF
	}
	if err := m.await(); err != nil {
		return 0, err
	}
	n, err := m.link.readData(p[:min(len(p), m.size)])
	m.size -= n
	return n, m.failed(err)
}

// ReadByte implements io.ByteReader.
func (m *incoming) ReadByte() (byte, error) {
	if m.size == 0 {
		return 0, io.EOF
	}
	l := m.link
	if l.cur != m.stream || l.left == 0 || l.r == l.w {
		if err := m.await(); err != nil {
			return 0, err
		}
		if err := l.need(1); err != nil {
			return 0, m.failed(err)
		}
	}
	b := l.buf[l.r]
	l.skip(1)
	l.left--
	m.size--
	return b, nil
}

// Discard passes over n bytes, as mem.Reader's does.
func (m *incoming) Discard(n int) (int, error) {
	for left := n; left > 0; {
		if m.size == 0 {
			return n - left, io.ErrUnexpectedEOF
		}
		if err := m.await(); err != nil {
			return n - left, err
		}
		k := min(left, m.size, m.link.left)
		if err := m.link.discard(k); err != nil {
			return n - left, m.failed(err)
		}
		m.link.left -= k
		m.size -= k
		left -= k
	}
	return n, nil
}

// await waits for data of the stream.
func (m *incoming) await() error {
	if m.link.cur == m.stream && m.link.left > 0 {
		return nil
	}
	more, err := m.link.await(m.stream)
	if err == nil && !more {
		return errCutShort
	}
	return m.failed(err)
}

// failed is a connection's error, which no decoder may take for the end of a message.
func (m *incoming) failed(err error) error {
	if err != nil {
		return &readError{err}
	}
	return nil
}

var errCutShort = errors.New("the stream ended within a message")

// readError is one of the connection, not of what came.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

// receive reads the next message of a stream; io.EOF if the peer has no more. Its errors are of
// the connection if they are readErrors, of the message else.
func (l *link) receive(s *stream, in *incoming, m any) error {
	more, err := l.await(s)
	if err != nil {
		return &readError{err}
	}
	if !more {
		return io.EOF
	}
	*in = incoming{link: l, stream: s, size: prefixBytes}
	var prefix [prefixBytes]byte
	for i := range prefix {
		if prefix[i], err = in.ReadByte(); err != nil {
			return err
		}
	}
	n := binary.BigEndian.Uint32(prefix[1:])
	if prefix[0] != 0 {
		return status.Error(codes.Unimplemented, "direct: messages are not compressed here")
	}
	if uint64(n) > uint64(l.maxMessage) {
		return status.Errorf(codes.ResourceExhausted,
			"direct: received message larger than max (%d vs. %d)", n, l.maxMessage)
	}
	in.size = int(n)
	if err := wire.Decode(in, m); err != nil {
		var broken *readError
		if errors.As(err, &broken) || errors.Is(err, errCutShort) {
			return err
		}
		return status.Error(codes.Internal, fmt.Sprintf("direct: %v", err))
	}
	l.progress()
	return nil
}

// lock takes the right to read, for somebody who receives.
func (l *link) lock() {
	l.wanted.Add(1)
	l.reading.Lock()
	l.wanted.Add(-1)
}

// unlock gives it back; who waits for window may have to read now.
func (l *link) unlock() {
	l.reading.Unlock()
	if l.out.waiting.Load() > 0 {
		l.out.tell()
	}
}

// whole is the one message of a unary call.
func whole(body []byte) ([]byte, error) {
	if len(body) < prefixBytes || body[0] != 0 ||
		uint64(len(body)-prefixBytes) != uint64(binary.BigEndian.Uint32(body[1:])) {
		return nil, fmt.Errorf("%d bytes are not one message as it is", len(body))
	}
	return body[prefixBytes:], nil
}
