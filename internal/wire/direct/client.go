package direct

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-serve/conclave/internal/wire"
)

// Options are those of a connection.
type Options struct {
	// MaxMessage bounds messages in both directions, in bytes.
	MaxMessage int
	// Authority is what the connection is said to lead to; a server of ours does not look.
	Authority string
}

// Client is one connection to a server: for unary calls, one after the other, and then for one
// stream. It implements what generated clients call. Its methods are for one caller at a time,
// but for Close; the stream then has its own rules.
type Client struct {
	link    *link
	options Options
	next    uint32
	current *call
	stops   []func() bool
	refused bool // by GOAWAY: no new streams
}

// call is a unary call, or the stream.
type call struct {
	stream
	answered bool           // its headers have come
	status   *status.Status // set when it has ended
}

var _ grpc.ClientConnInterface = (*Client)(nil)

// Dial begins to speak HTTP/2 on a connection, which is the client's from then on: it is closed
// with the client, or when ctx ends.
func Dial(ctx context.Context, conn net.Conn, options Options) (*Client, error) {
	c := &Client{options: options, next: 1}
	c.link = newLink(conn, options.MaxMessage, c)
	c.endWith(ctx)
	hello := append([]byte(http2.ClientPreface), appendSettings(nil, ownSettings(true)...)...)
	hello = appendWindowUpdate(hello, 0, windowBytes-firstWindow)
	if err := c.link.write(hello); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := conn.SetReadDeadline(time.Now().Add(pingAfter)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// ownSettings are what this end takes.
func ownSettings(client bool) []http2.Setting {
	s := []http2.Setting{
		{ID: http2.SettingInitialWindowSize, Val: windowBytes},
		{ID: http2.SettingMaxFrameSize, Val: largestFrame},
		{ID: http2.SettingMaxHeaderListSize, Val: maxHeaderBytes},
	}
	if client {
		return append(s, http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	}
	return append(s, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: maxStreams})
}

// endWith ends the connection with a context.
func (c *Client) endWith(ctx context.Context) {
	c.stops = append(c.stops, context.AfterFunc(ctx, func() {
		c.link.end(status.FromContextError(ctx.Err()).Err())
	}))
}

// Close ends the connection and whatever is under way on it.
func (c *Client) Close() error {
	for _, stop := range c.stops {
		stop()
	}
	l := c.link
	if s := c.current; s != nil && l.out.mu.TryLock() {
		if l.err() == nil && s.ctx.Err() == nil {
			l.out.farewell(l.conn, appendReset(nil, s.id, http2.ErrCodeCancel))
		}
		l.out.mu.Unlock()
	}
	l.end(status.Error(codes.Canceled, "direct: the client is closed"))
	l.wg.Wait()
	return nil
}

// open sends the headers of a new stream.
func (c *Client) open(ctx context.Context, method string, gather int) (*call, error) {
	if err := c.link.err(); err != nil {
		return nil, c.failure(err)
	}
	if c.refused || c.current != nil {
		return nil, status.Error(codes.Unavailable, "direct: the connection takes no other stream")
	}
	s := &call{stream: stream{id: c.next, gather: gather}}
	s.ctx, s.cancel = context.WithCancel(ctx)
	c.next += 2
	pairs := []string{
		":method", "POST", ":scheme", "http", ":path", method, ":authority", c.options.Authority,
		"content-type", contentType, "te", "trailers", "user-agent", UserAgent,
	}
	if deadline, ok := ctx.Deadline(); ok {
		pairs = append(pairs, "grpc-timeout", formatTimeout(time.Until(deadline)))
	}
	c.current = s
	c.link.out.open(&s.stream)
	return s, c.link.write(appendFrame(nil, http2.FrameHeaders, http2.FlagHeadersEndHeaders, s.id,
		packHeaders(pairs...)))
}

// close forgets a call that has ended.
func (c *Client) close(s *call) {
	s.cancel()
	c.link.out.close(&s.stream)
	c.current = nil
}

// Invoke implements grpc.ClientConnInterface: one unary call. Of the options it knows
// grpc.MaxCallRecvMsgSize.
func (c *Client) Invoke(
	ctx context.Context, method string, args, reply any, opts ...grpc.CallOption,
) error {
	limit := wire.MaxOtherBytes
	for _, o := range opts {
		if o, ok := o.(grpc.MaxRecvMsgSizeCallOption); ok {
			limit = o.MaxRecvMsgSize
		}
	}
	in, ok := args.(proto.Message)
	out, also := reply.(proto.Message)
	if !ok || !also {
		return status.Errorf(codes.Internal, "direct: a %T and a %T are no messages", args, reply)
	}
	piece, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, frontBytes), in)
	if err != nil {
		return status.Errorf(codes.Internal, "direct: %v", err)
	}
	l := c.link
	l.reading.Lock()
	defer l.reading.Unlock()
	s, err := c.open(ctx, method, limit)
	if err != nil {
		return err
	}
	defer c.close(s)
	s.inner = true
	stop := context.AfterFunc(ctx, func() { l.end(status.FromContextError(ctx.Err()).Err()) })
	defer stop()
	if err := l.sendPiece(&s.stream, piece); err != nil {
		return c.failure(err)
	}
	end := appendFrame(nil, http2.FrameData, http2.FlagDataEndStream, s.id, nil)
	if err := l.write(end); err != nil {
		return c.failure(err)
	}
	for !s.ended && !s.full {
		if err := l.step(); err != nil {
			return c.failure(l.fail(err))
		}
	}
	return c.reply(s, out)
}

// reply takes the answer of a unary call.
func (c *Client) reply(s *call, out proto.Message) error {
	if s.full {
		// The rest of it is not wanted, and nothing else is on the connection.
		err := status.Errorf(codes.ResourceExhausted,
			"direct: received message larger than max (%d)", s.gather)
		c.link.end(err)
		return err
	}
	if s.status.Code() != codes.OK {
		return s.status.Err()
	}
	body, err := whole(s.body)
	if err == nil {
		err = proto.Unmarshal(body, out)
	}
	if err != nil {
		return status.Errorf(codes.Internal, "direct: %v", err)
	}
	return nil
}

// NewStream implements grpc.ClientConnInterface: it opens the stream and returns at once. The
// stream lives as long as ctx and the client do.
func (c *Client) NewStream(
	ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption,
) (grpc.ClientStream, error) {
	s, err := c.open(ctx, method, 0)
	if err != nil {
		return nil, err
	}
	c.endWith(ctx)
	return &clientStream{client: c, call: s}, nil
}

// failure is err as the status of a call.
func (c *Client) failure(err error) error {
	var r *readError
	if errors.As(err, &r) {
		err = r.error
	}
	if l := c.link.err(); l != nil {
		err = l
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return status.Error(codes.Unavailable, fmt.Sprintf("direct: connection broken: %v", err))
}

// clientStream is the stream of a client: SendMsg is for one goroutine and RecvMsg for another.
type clientStream struct {
	client *Client
	call   *call
	in     incoming
}

var _ grpc.ClientStream = (*clientStream)(nil)

// Header implements grpc.ClientStream: it waits until the server has opened the stream.
func (s *clientStream) Header() (metadata.MD, error) {
	l := s.client.link
	l.lock()
	defer l.unlock()
	for !s.call.answered && !s.call.ended {
		if err := l.step(); err != nil {
			return nil, s.client.failure(l.fail(err))
		}
	}
	if s.call.ended && !s.call.answered {
		return nil, s.call.status.Err()
	}
	return metadata.MD{}, nil
}

// Trailer implements grpc.ClientStream.
func (s *clientStream) Trailer() metadata.MD { return nil }

// Context implements grpc.ClientStream.
func (s *clientStream) Context() context.Context { return s.call.ctx }

// CloseSend implements grpc.ClientStream.
func (s *clientStream) CloseSend() error {
	return s.client.link.write(
		appendFrame(nil, http2.FrameData, http2.FlagDataEndStream, s.call.id, nil))
}

// SendMsg implements grpc.ClientStream for a *wire.Request. When it returns the message is the
// caller's again. io.EOF: the stream has ended, and RecvMsg says why.
func (s *clientStream) SendMsg(m any) error {
	if s.call.ctx.Err() != nil {
		return io.EOF
	}
	err := s.client.link.send(&s.call.stream, m)
	if err != nil && (s.client.link.err() != nil || s.call.ctx.Err() != nil) {
		return io.EOF
	}
	return err
}

// RecvMsg implements grpc.ClientStream for a *wire.Response.
func (s *clientStream) RecvMsg(m any) error {
	l := s.client.link
	l.lock()
	defer l.unlock()
	err := l.receive(&s.call.stream, &s.in, m)
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) && s.call.status != nil {
		if s.call.status.Code() == codes.OK {
			return io.EOF
		}
		return s.call.status.Err()
	}
	if errors.Is(err, errCutShort) && s.call.status.Code() != codes.OK {
		err = s.call.status.Err()
	}
	return s.client.failure(l.fail(err))
}

// RecvWithin is RecvMsg where somebody reads only for about d, up to twice that: false if no answer
// has begun to come by then, or if another goroutine reads. It costs less than to be woken by one.
func (s *clientStream) RecvWithin(m any, d time.Duration) (bool, error) {
	l := s.client.link
	if !l.reading.TryLock() {
		return false, nil
	}
	more, err := l.awaitWithin(&s.call.stream, d)
	l.unlock()
	if err != nil || !more {
		return false, err
	}
	return true, s.RecvMsg(m)
}

// The link's events.

func (c *Client) stream(id uint32) *stream {
	if s := c.current; s != nil && s.id == id {
		return &s.stream
	}
	return nil
}

func (c *Client) headers(id uint32, f *fields, end bool) error {
	s := c.current
	if s == nil || s.id != id || s.ended {
		return nil // of a call that was given up
	}
	if !s.answered && !end {
		if f.status != "200" || !isGRPC(f.content) {
			return status.Errorf(codes.Unavailable, "direct: the server answers HTTP %.20q, %.40q",
				f.status, f.content)
		}
		s.answered = true
		return nil
	}
	if !end {
		return broken(http2.ErrCodeProtocol, "headers within a stream")
	}
	c.ended(s, answerStatus(f))
	return nil
}

func (c *Client) ended(s *call, why *status.Status) {
	s.status, s.ended = why, true
	s.cancel()
}

func (c *Client) gathered(s *stream) error {
	if !s.full && s.ended {
		c.current.status = status.New(codes.Internal, "the stream ended without a status")
	}
	return nil
}

func (c *Client) reset(s *stream, code http2.ErrCode) {
	if s.ended {
		return
	}
	why := resetCode(code)
	if deadline, ok := s.ctx.Deadline(); ok && why == codes.Canceled && !time.Now().Before(deadline) {
		why = codes.DeadlineExceeded // the server's clock was a little faster
	}
	c.ended(c.current, status.Newf(why, "direct: the server reset the stream: %v", code))
}

// resetCode is gRPC's reading of a reset.
func resetCode(code http2.ErrCode) codes.Code {
	switch code {
	case http2.ErrCodeRefusedStream:
		return codes.Unavailable
	case http2.ErrCodeCancel:
		return codes.Canceled
	case http2.ErrCodeEnhanceYourCalm:
		return codes.ResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		return codes.PermissionDenied
	}
	return codes.Internal
}

func (c *Client) goAway(last uint32, code http2.ErrCode) {
	c.refused = true
	if s := c.current; s != nil && s.id > last && !s.ended {
		c.ended(s, status.Newf(codes.Unavailable, "direct: the server goes away: %v", code))
	}
}

func (c *Client) quiet(time.Time) error { return nil }
