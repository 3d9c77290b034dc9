package direct_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/internal/wire/direct"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

// peer is an end that a test writes frame by frame.
type peer struct {
	*http2.Framer
	t    *testing.T
	conn net.Conn
}

func newPeer(t *testing.T, conn net.Conn) *peer {
	_ = conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = conn.Close() })
	f := http2.NewFramer(conn, conn)
	f.SetMaxReadFrameSize(1<<24 - 1)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return &peer{f, t, conn}
}

func (p *peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func fieldBlock(pairs ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(pairs); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return b.Bytes()
}

func (p *peer) headers(stream uint32, end bool, pairs ...string) {
	p.t.Helper()
	p.must(p.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: fieldBlock(pairs...), EndHeaders: true, EndStream: end,
	}))
}

// callLane begins as a client with windows of so many bytes.
func callLane(t *testing.T, addr string, window uint32) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, conn)
	_, err = conn.Write([]byte(http2.ClientPreface))
	p.must(err)
	p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}))
	p.headers(1, false, ":method", "POST", ":scheme", "http", ":path",
		"/conclave.v1.ExpertService/Dispatch", ":authority", "x", "content-type", "application/grpc", "te", "trailers")
	return p
}

// request is a message of a lane with its prefix.
func request(t *testing.T, id uint64, n int) []byte {
	t.Helper()
	var buffers wire.Buffers
	r := wire.Request{ID: id, Buffers: &buffers}
	pattern(r.Activations.Reserve(&buffers, n), id)
	return prefixed(t, &r)
}

func prefixed(t *testing.T, m any) []byte {
	t.Helper()
	enc, err := wire.Codec().Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	body := enc.Materialize()
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
}

// A client grants a hundred bytes at a time, behind requests that nobody has taken yet: the
// server has to find the grants among them.
func TestServerFindsGrantsBehindData(t *testing.T) {
	addr := serve(t, &echo{}, false, listen(t))
	p := callLane(t, addr, 100)
	const n, count = 40_000, 6
	for id := range uint64(count) {
		for m := request(t, id, n); len(m) > 0; {
			k := min(len(m), 9999)
			p.must(p.WriteDataPadded(1, false, m[:k], make([]byte, int(id)*7)))
			m = m[k:]
		}
	}
	var answers []byte
	for id := uint64(0); id < count; {
		f, err := p.ReadFrame()
		p.must(err)
		d, ok := f.(*http2.DataFrame)
		if !ok {
			continue
		}
		if len(d.Data()) > 100 {
			t.Fatalf("%d bytes where 100 were granted", len(d.Data()))
		}
		answers = append(answers, d.Data()...)
		p.must(p.WriteWindowUpdate(1, uint32(len(d.Data()))))
		p.must(p.WriteWindowUpdate(0, uint32(len(d.Data()))))
		if len(answers) < 5 || len(answers) < 5+int(binary.BigEndian.Uint32(answers[1:])) {
			continue
		}
		size := 5 + int(binary.BigEndian.Uint32(answers[1:]))
		var r conclavev1.DispatchResponse
		p.must(proto.Unmarshal(answers[5:size], &r))
		want := make([]byte, n)
		pattern(want, id)
		if r.GetId() != id || !bytes.Equal(r.GetOutputs(), want) {
			t.Errorf("answer %d is %d, or differs", id, r.GetId())
		}
		answers = answers[size:]
		id++
	}
}

// loopback is both ends of a connection.
func loopback(t *testing.T) (near, far net.Conn) {
	t.Helper()
	lis := listen(t)
	defer lis.Close()
	near, err := net.Dial("tcp", lis.Addr().String())
	if err == nil {
		far, err = lis.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

// scriptedServer answers one direct client frame by frame, from when its lane is asked for.
func scriptedServer(t *testing.T, window uint32, script func(p *peer)) *lane {
	t.Helper()
	near, far := loopback(t)
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	serving.Go(func() {
		p := newPeer(t, far)
		if _, err := io.CopyN(io.Discard, far, int64(len(http2.ClientPreface))); err != nil {
			return
		}
		_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
		for {
			f, err := p.ReadFrame()
			if err != nil {
				return
			}
			if _, ok := f.(*http2.MetaHeadersFrame); ok {
				script(p)
				return
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c, err := direct.Dial(ctx, near, direct.Options{MaxMessage: maxMessage})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	stream, err := conclavev1.NewExpertServiceClient(c).Dispatch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &lane{t: t, stream: stream}
}

func (p *peer) accept() {
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true,
		BlockFragment: fieldBlock(":status", "200", "content-type", "application/grpc")})
}

// A server grants a hundred bytes at a time; whoever sends finds them though nobody receives.
func TestClientSendsThroughASmallWindow(t *testing.T) {
	const n = 20_000
	l := scriptedServer(t, 100, func(p *peer) {
		p.accept()
		var got []byte
		for len(got) < n {
			f, err := p.ReadFrame()
			if err != nil {
				t.Error(err)
				return
			}
			d, ok := f.(*http2.DataFrame)
			if !ok {
				continue
			}
			if len(d.Data()) > 100 {
				t.Errorf("%d bytes where 100 were granted", len(d.Data()))
			}
			got = append(got, d.Data()...)
			_ = p.WriteWindowUpdate(1, uint32(len(d.Data())))
			_ = p.WriteWindowUpdate(0, uint32(len(d.Data())))
		}
		var resp wire.Response
		resp.ID = 3
		var buffers wire.Buffers
		pattern(resp.Outputs.Reserve(&buffers, 10), 3)
		_ = p.WriteData(1, false, prefixed(t, &resp))
		_, _ = p.ReadFrame()
	})
	if _, err := l.stream.Header(); err != nil { // the window is known from here on
		t.Fatal(err)
	}
	if err := l.send(3, n); err != nil {
		t.Fatal(err)
	}
	if err := l.receive(3, 10); err != nil {
		t.Fatal(err)
	}
}

// However a server ends a stream, the client learns it as gRPC would have it.
func TestEndsOfAStream(t *testing.T) {
	half := append([]byte{0, 0, 0, 1, 0}, 8, 1)
	for name, c := range map[string]struct {
		script func(p *peer)
		want   codes.Code
		says   string
	}{
		"reset":   {func(p *peer) { p.accept(); _ = p.WriteRSTStream(1, http2.ErrCodeCancel) }, codes.Canceled, "CANCEL"},
		"refused": {func(p *peer) { _ = p.WriteRSTStream(1, http2.ErrCodeRefusedStream) }, codes.Unavailable, "REFUSED"},
		"reset in a message": {func(p *peer) {
			p.accept()
			_ = p.WriteData(1, false, half)
			_ = p.WriteRSTStream(1, http2.ErrCodeInternal)
		}, codes.Internal, "INTERNAL"},
		"gone":                  {func(p *peer) { _ = p.WriteGoAway(0, http2.ErrCodeNo, nil) }, codes.Unavailable, "goes away"},
		"gone in a message":     {func(p *peer) { p.accept(); _ = p.WriteData(1, false, half); _ = p.WriteGoAway(0, http2.ErrCodeNo, nil) }, codes.Unavailable, "goes away"},
		"going, and then ended": {func(p *peer) { p.accept(); _ = p.WriteGoAway(1, http2.ErrCodeNo, nil); p.trailers("13", "x%20y") }, codes.Internal, "x y"},
		"trailers alone": {func(p *peer) {
			p.headers(1, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "8")
		}, codes.ResourceExhausted, ""},
		"no status":    {func(p *peer) { p.accept(); _ = p.WriteData(1, true, nil) }, codes.Unavailable, ""},
		"hung up":      {func(p *peer) { p.accept() }, codes.Unavailable, "connection broken"},
		"a web server": {func(p *peer) { p.headers(1, false, ":status", "404", "content-type", "text/html") }, codes.Unavailable, "404"},
		"no HTTP/2":    {func(p *peer) { _, _ = p.conn.Write([]byte(strings.Repeat("HTTP/1.1 400 \r\n", 4))) }, codes.Unavailable, ""},
		"compressed":   {func(p *peer) { p.accept(); _ = p.WriteData(1, false, []byte{1, 0, 0, 0, 1, 0}) }, codes.Unimplemented, "compressed"},
		"too long":     {func(p *peer) { p.accept(); _ = p.WriteData(1, false, []byte{0, 255, 0, 0, 1, 0}) }, codes.ResourceExhausted, "larger than max"},
		"no message":   {func(p *peer) { p.accept(); _ = p.WriteData(1, false, []byte{0, 0, 0, 0, 2, 0xff, 0xff}) }, codes.Internal, "unexpected EOF"},
		"a flood": {func(p *peer) {
			p.accept()
			for p.WritePing(false, [8]byte{}) == nil {
			}
		}, codes.Unavailable, "ENHANCE_YOUR_CALM"},
	} {
		t.Run(name, func(t *testing.T) {
			l := scriptedServer(t, 1<<20, func(p *peer) {
				var reading sync.WaitGroup // a pipe holds nothing
				reading.Go(func() { _, _ = io.Copy(io.Discard, p.conn) })
				c.script(p)
				if name == "hung up" || name == "no HTTP/2" || name == "a flood" {
					_ = p.conn.Close()
				}
				reading.Wait()
			})
			err := l.stream.RecvMsg(&l.resp)
			if status.Code(err) != c.want && !(name == "no HTTP/2" && err != nil) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it ended with %v", err)
			}
			if err := l.stream.RecvMsg(&l.resp); err == nil {
				t.Error("it goes on")
			}
			if name == "hung up" {
				if err := l.send(1, 10); !errors.Is(err, io.EOF) {
					t.Errorf("a message after the end: %v", err)
				}
			}
		})
	}
}

func (p *peer) trailers(code, message string) {
	p.headers(1, true, "grpc-status", code, "grpc-message", message)
}

// A handler that is at work learns that its lane was reset, and pings are answered meanwhile.
func TestAHandlerAtWorkIsMinded(t *testing.T) {
	ended := make(chan error, 1)
	addr := serve(t, &echo{work: func(s grpc.ServerStream, _ *wire.Request) error {
		select {
		case <-s.Context().Done():
			ended <- nil
		case <-time.After(patience):
			ended <- errors.New("nothing was noticed")
		}
		return s.Context().Err()
	}}, false, listen(t))
	p := callLane(t, addr, 1<<20)
	p.must(p.WriteData(1, false, request(t, 1, 100)))
	p.must(p.WriteData(1, false, request(t, 2, 100))) // behind it
	p.must(p.WritePing(false, [8]byte{42}))
	for {
		f, err := p.ReadFrame()
		p.must(err)
		if ping, ok := f.(*http2.PingFrame); ok && ping.IsAck() && ping.Data[0] == 42 {
			break
		}
	}
	p.must(p.WriteRSTStream(1, http2.ErrCodeCancel))
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
