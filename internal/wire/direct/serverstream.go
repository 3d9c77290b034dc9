package direct

import (
	"context"
	"errors"
	"io"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// serverStream is a server's end of a stream. Its methods are for the handler's goroutine.
type serverStream struct {
	session *session
	base    stream
	cancel  context.CancelFunc
	unary   unaryMethod
	stream  struct{ method streamMethod }
	opened  bool // the headers are sent
	reset   bool // by the client
	late    bool // its deadline has passed, which was said
	in      incoming
	minder  minder
}

var _ grpc.ServerStream = (*serverStream)(nil)

// SetHeader implements grpc.ServerStream; nothing is kept of metadata.
func (s *serverStream) SetHeader(metadata.MD) error { return nil }

// SendHeader implements grpc.ServerStream: it says that the stream is open.
func (s *serverStream) SendHeader(metadata.MD) error { return s.open() }

// SetTrailer implements grpc.ServerStream; nothing is kept of metadata.
func (s *serverStream) SetTrailer(metadata.MD) {}

// Context implements grpc.ServerStream.
func (s *serverStream) Context() context.Context { return s.base.ctx }

func (s *serverStream) open() error {
	if s.opened {
		return nil
	}
	s.opened = true
	return s.session.link.write(appendFrame(nil, http2.FrameHeaders, http2.FlagHeadersEndHeaders,
		s.base.id, packHeaders(":status", "200", "content-type", contentType)))
}

// SendMsg implements grpc.ServerStream for a *wire.Response. When it returns the message is the
// handler's again.
func (s *serverStream) SendMsg(m any) error {
	if err := s.open(); err != nil {
		return err
	}
	if err := s.base.lost(); err != nil {
		return err
	}
	return s.session.link.send(&s.base, m)
}

// RecvMsg implements grpc.ServerStream for a *wire.Request.
func (s *serverStream) RecvMsg(m any) error {
	l := s.session.link
	s.minder.stop()
	defer l.unlock()
	if err := s.base.ctx.Err(); err != nil && !s.reset && l.err() == nil {
		return status.FromContextError(err).Err()
	}
	err := l.receive(&s.base, &s.in, m)
	if err == nil {
		s.minder.start()
		return nil
	}
	if s.reset {
		return status.Error(codes.Canceled, "direct: the client has reset the stream")
	}
	if ctx := s.base.ctx.Err(); ctx != nil && l.err() == nil && errors.Is(err, ctx) {
		return status.FromContextError(ctx).Err()
	}
	if errors.Is(err, io.EOF) && s.base.ended {
		return io.EOF
	}
	if errors.Is(err, errCutShort) {
		return status.Error(codes.Internal, "direct: "+err.Error())
	}
	var broken *readError
	if errors.As(err, &broken) {
		return l.fail(broken.error)
	}
	return err // of the message: the stream ends, the connection does not
}
