package direct

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-serve/conclave/internal/wire"
)

// session is a server's end of a connection. Its goroutine reads, runs handlers and writes.
type session struct {
	server *Server
	link   *link
	lane   *serverStream            // nil: none is open
	calls  map[uint32]*serverStream // unary ones that are still being read
	last   uint32                   // the last stream that was opened
	idle   time.Time                // since when there is none; zero if there is
}

// errIdle ends a connection that nobody uses.
var errIdle = errors.New("the connection has no stream")

// run serves the connection until it ends.
func (c *session) run() {
	l := c.link
	l.skip(len(http2.ClientPreface))
	c.calls, c.idle = map[uint32]*serverStream{}, time.Now()
	defer func() {
		l.end(io.EOF)
		for _, s := range c.calls {
			c.forget(s)
		}
		l.wg.Wait()
	}()
	l.out.due = time.Now().Add(greetTimeout)
	hello := appendSettings(nil, ownSettings(false)...)
	if l.write(appendWindowUpdate(hello, 0, windowBytes-firstWindow)) != nil {
		return
	}
	if l.conn.SetReadDeadline(time.Now().Add(pingAfter)) != nil {
		return
	}
	for l.err() == nil {
		l.lock()
		err := l.step()
		l.unlock()
		if err != nil {
			_ = l.fail(err)
			return
		}
		if s := c.lane; s != nil && c.serve(s) != nil {
			c.linger()
			return
		}
	}
}

// lingerFor is how long a peer has to read why its lane has ended.
const lingerFor = time.Second

// linger passes over what comes: closed now, the connection would take back what was said on it.
func (c *session) linger() {
	l := c.link
	if l.write(appendGoAway(nil, c.last, http2.ErrCodeNo)) != nil ||
		l.conn.SetReadDeadline(time.Now().Add(lingerFor)) != nil {
		return
	}
	for {
		if _, err := l.conn.Read(l.buf); err != nil {
			return
		}
	}
}

// serve runs the handler of a lane. If that fails there is no other lane on the connection: what
// else is on its way may not be what it seems.
func (c *session) serve(s *serverStream) error {
	err := s.stream.method.desc.Handler(s.stream.method.service, s)
	s.minder.end()
	if c.link.err() == nil {
		c.finish(s, err)
	}
	c.link.lock()
	c.lane = nil
	c.forget(s)
	c.link.unlock()
	return err
}

// forget ends a stream.
func (c *session) forget(s *serverStream) {
	s.cancel()
	c.link.out.close(&s.base)
	delete(c.calls, s.base.id)
	if c.lane == nil && len(c.calls) == 0 {
		c.idle = time.Now()
	}
}

// finish sends the trailers.
func (c *session) finish(s *serverStream, err error) {
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	pairs := []string{"grpc-status", strconv.Itoa(int(st.Code()))}
	if st.Message() != "" {
		pairs = append(pairs, "grpc-message", escape(st.Message()))
	}
	if !s.opened {
		pairs = append([]string{":status", "200", "content-type", contentType}, pairs...)
	}
	block := packHeaders(pairs...)
	if len(block) > firstFrame {
		block = packHeaders(pairs[:len(pairs)-2]...)
	}
	b := appendFrame(nil, http2.FrameHeaders,
		http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, s.base.id, block)
	if !s.base.ended {
		b = appendReset(b, s.base.id, http2.ErrCodeNo)
	}
	_ = c.link.write(b) // whoever reads learns of an error
}

// The link's events.

func (c *session) stream(id uint32) *stream {
	if c.lane != nil && c.lane.base.id == id {
		return &c.lane.base
	}
	if s := c.calls[id]; s != nil {
		return &s.base
	}
	return nil
}

func (c *session) headers(id uint32, f *fields, end bool) error {
	if s := c.stream(id); s != nil {
		if !end {
			return broken(http2.ErrCodeProtocol, "headers within stream %d", id)
		}
		s.ended = true
		if s.gather > 0 {
			return c.gathered(s)
		}
		return nil
	}
	if id <= c.last {
		return nil // of one that has ended here
	}
	if id%2 == 0 {
		return broken(http2.ErrCodeProtocol, "stream %d of a client", id)
	}
	c.last, c.idle = id, time.Time{}
	s := &serverStream{session: c, base: stream{id: id, ended: end}}
	if len(c.calls)+1 >= maxStreams {
		c.link.rare(appendReset(nil, id, http2.ErrCodeRefusedStream))
		return nil
	}
	if err := c.admit(s, f); err != nil {
		c.refuse(s, err)
		return nil
	}
	c.link.out.open(&s.base)
	if s.unary.desc == nil {
		c.lane = s
		s.minder.init(s)
		return nil
	}
	s.base.gather, s.base.inner = wire.MaxOtherBytes, true
	c.calls[id] = s
	if end {
		return c.gathered(&s.base)
	}
	return nil
}

// refuse ends a stream that was not admitted.
func (c *session) refuse(s *serverStream, err error) {
	if s.cancel == nil {
		s.base.ctx, s.cancel = context.WithCancel(c.link.ctx)
	}
	c.finish(s, err)
	c.forget(s)
}

// admit finds the method of a new stream and asks whether it may be opened.
func (c *session) admit(s *serverStream, f *fields) error {
	if f.method != "POST" || !isGRPC(f.content) {
		return status.Errorf(codes.Internal, "direct: %.20q of %.40q is no call", f.method, f.content)
	}
	s.unary, s.stream.method = c.server.unary[f.path], c.server.streams[f.path]
	switch {
	case s.unary.desc == nil && s.stream.method.desc == nil:
		return status.Errorf(codes.Unimplemented,
			"direct: method %.100q is not served on the connection of a lane: open another", f.path)
	case s.unary.desc == nil && c.lane != nil:
		return status.Error(codes.ResourceExhausted,
			"direct: a connection has one lane: open another connection")
	}
	timeout, limited, err := parseTimeout(f.timeout)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	ctx := peer.NewContext(c.link.ctx, &peer.Peer{
		Addr: c.link.conn.RemoteAddr(), LocalAddr: c.link.conn.LocalAddr(),
		AuthInfo: insecureInfo{},
	})
	if limited {
		ctx, s.cancel = context.WithTimeout(ctx, timeout)
	} else {
		ctx, s.cancel = context.WithCancel(ctx)
	}
	s.base.ctx = ctx
	admitted, err := c.server.options.Admit(ctx, &tap.Info{FullMethodName: f.path})
	if err != nil {
		return err
	}
	s.base.ctx = admitted
	if limited {
		context.AfterFunc(ctx, func() {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				_ = c.link.conn.SetReadDeadline(time.Unix(1, 0)) // quiet sees why
			}
		})
	}
	return nil
}

// insecureInfo says that nothing is known of the peer.
type insecureInfo struct{ credentials.CommonAuthInfo }

// AuthType implements credentials.AuthInfo.
func (insecureInfo) AuthType() string { return "direct" }

// gathered answers a unary call.
func (c *session) gathered(base *stream) error {
	s := c.calls[base.id]
	if s == nil {
		return nil
	}
	base.busy = true
	defer c.forget(s)
	if base.full {
		c.finish(s, status.Errorf(codes.ResourceExhausted,
			"direct: received message larger than max (%d)", base.gather))
		return nil
	}
	body, err := whole(base.body)
	if err != nil {
		c.finish(s, status.Errorf(codes.Internal, "direct: %v", err))
		return nil
	}
	answer, err := s.unary.desc.Handler(s.unary.service, base.ctx, func(m any) error {
		in, ok := m.(proto.Message)
		if !ok {
			return status.Errorf(codes.Internal, "direct: a %T is no message", m)
		}
		return proto.Unmarshal(body, in)
	}, nil)
	if err != nil {
		c.finish(s, err)
		return nil
	}
	out, ok := answer.(proto.Message)
	if !ok {
		c.finish(s, status.Errorf(codes.Internal, "direct: a %T is no message", answer))
		return nil
	}
	piece, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, frontBytes), out)
	if err != nil {
		c.finish(s, status.Errorf(codes.Internal, "direct: %v", err))
		return nil
	}
	if err := s.open(); err != nil {
		return err
	}
	if err := c.link.sendPiece(base, piece); err != nil {
		if c.link.err() != nil || base.ctx.Err() == nil {
			return err
		}
		return nil // it was reset
	}
	c.finish(s, nil)
	return nil
}

func (c *session) reset(base *stream, _ http2.ErrCode) {
	base.ended = true
	if c.lane != nil && base == &c.lane.base {
		c.lane.reset = true
		c.lane.cancel()
		return
	}
	if s := c.calls[base.id]; s != nil {
		s.cancel()
		if !base.busy {
			c.forget(s)
		}
	}
}

func (c *session) goAway(uint32, http2.ErrCode) {} // a client asks for nothing more

func (c *session) quiet(now time.Time) error {
	if s := c.lane; s != nil {
		if errors.Is(s.base.ctx.Err(), context.DeadlineExceeded) && !s.late {
			s.late = true
			return s.base.ctx.Err()
		}
		return nil
	}
	if len(c.calls) == 0 && !c.idle.IsZero() && now.Sub(c.idle) > idleTimeout {
		return errIdle
	}
	return nil
}
