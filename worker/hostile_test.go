package worker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/conclave-serve/conclave/internal/faultnet"
	"github.com/conclave-serve/conclave/internal/wire"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

// greeting is what a coordinator sends to open a lane, and its first request: HTTP/2 preface,
// settings, headers of stream 1, a message.
func greeting(t *testing.T, s *testServer) (open, request []byte) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tee := &tee{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tee.relay(lis, s.addr)
	}()
	through := *s
	through.addr = lis.Addr().String()
	l := through.open(t)
	if _, err := l.stream.Header(); err != nil {
		t.Fatal(err)
	}
	open = tee.taken()
	if resp := l.ask(l.good()); resp.Status != wire.StatusOK {
		t.Fatal(resp.Message)
	}
	request = tee.taken()[len(open):]
	_ = l.stream.CloseSend()
	if err := l.stream.RecvMsg(&wire.Response{}); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	tee.stop()
	_ = lis.Close()
	<-done
	return open, request
}

// tee relays one connection and keeps what goes to the server.
type tee struct {
	mu    sync.Mutex
	bytes []byte
	conns []net.Conn
}

func (c *tee) relay(lis net.Listener, addr string) {
	in, err := lis.Accept()
	if err != nil {
		return
	}
	out, err := net.Dial("tcp", addr)
	if err != nil {
		_ = in.Close()
		return
	}
	c.mu.Lock()
	c.conns = []net.Conn{in, out}
	c.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(in, out) })
	_, _ = io.Copy(io.MultiWriter(c, out), in)
	c.stop()
	wg.Wait()
}

func (c *tee) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes = append(c.bytes, b...)
	return len(b), nil
}

func (c *tee) taken() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.bytes)
}

func (c *tee) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// frame is an HTTP/2 frame.
func frame(kind, flags byte, stream uint32, body []byte) []byte {
	b := []byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), body...)
}

// message is a DATA frame on stream 1 with the head of a gRPC message of announced bytes.
func message(announced uint32, body []byte) []byte {
	return frame(0, 0, 1, append(binary.BigEndian.AppendUint32([]byte{0}, announced), body...))
}

// lies are messages that announce more than they bring, or than anybody takes.
func lies(limit int) [][]byte {
	field := func(num protowire.Number, n uint64) []byte {
		b := protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.BytesType), n)
		b = append(b, 1, 2, 3, 4)
		return message(uint32(len(b)), b)
	}
	var out [][]byte
	for _, n := range []uint32{1<<32 - 1, 1 << 31, uint32(limit) + 1, uint32(limit)} {
		out = append(out, message(n, []byte{1, 2, 3}))
	}
	for _, num := range []protowire.Number{7, 8, 9, 10, 15, 99} {
		out = append(out, field(num, 100<<30), field(num, 1<<63), field(num, 5))
	}
	return out
}

// floods are frames that ask for work or memory without a message: resets, pings, settings,
// headers without end, windows, streams.
func floods() [][]byte {
	repeat := func(n int, f func(i uint32) []byte) []byte {
		var b []byte
		for i := range n {
			b = append(b, f(uint32(i))...)
		}
		return b
	}
	return [][]byte{
		repeat(500, func(i uint32) []byte {
			// A new stream with headers that cannot be read, reset at once.
			return append(frame(1, 4, 2*i+3, []byte{0x82}), frame(3, 0, 2*i+3, []byte{0, 0, 0, 8})...)
		}),
		repeat(1000, func(uint32) []byte { return frame(6, 0, 0, make([]byte, 8)) }),
		repeat(1000, func(uint32) []byte { return frame(4, 0, 0, nil) }),
		append(frame(1, 0, 3, []byte{0x82}), repeat(64, func(uint32) []byte {
			return frame(9, 0, 3, bytes.Repeat([]byte("\x00\x01a\x7fb"), 1000))
		})...),
		repeat(1000, func(uint32) []byte { return frame(8, 0, 0, []byte{0x7f, 0xff, 0xff, 0xff}) }),
		frame(0, 0, 0, []byte("data of no stream")),
		frame(200, 255, 1<<31, make([]byte, 16383)),
		{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1}, // a frame of 16 MiB
	}
}

// Two thousand connections of garbage, broken frames and announcements of gigabytes: a lane
// goes on with the same answers, little memory is taken, and nothing is left.
func TestHostilePeers(t *testing.T) {
	const limit = 8 << 20
	s := startServer(t, checkpointDir, limit)
	open, request := greeting(t, s)
	l := s.open(t)
	want := bytes.Clone(l.ask(l.good()).Outputs.Bytes())
	files, routines := openFiles(t), runtime.NumGoroutine()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)

	attacks := append(lies(limit), floods()...)
	attacks = append(attacks, request)
	payload := func(rng *rand.Rand) []byte {
		body := attacks[rng.IntN(len(attacks))]
		switch rng.IntN(6) {
		case 0:
			return faultnet.Noise(rng, 4096)
		case 1:
			return faultnet.Spoil(rng, open)
		case 2:
			return append(bytes.Clone(open), faultnet.Spoil(rng, body)...)
		}
		return append(bytes.Clone(open), body...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	pelted := make(chan int, 1)
	go func() { pelted <- faultnet.Pelt(ctx, s.addr, 2000, 7, 50*time.Millisecond, payload) }()
	for done := false; !done; {
		select {
		case n := <-pelted:
			if done = true; n < 1900 {
				t.Errorf("only %d of 2000 connections were opened", n)
			}
		default:
		}
		if resp := l.ask(l.good()); !bytes.Equal(resp.Outputs.Bytes(), want) {
			t.Fatalf("status %d, %q; or other bits", resp.Status, resp.Message)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 128<<20 {
		t.Errorf("memory has grown by %d MiB", grown>>20)
	}
	if !comes(ctx, func() bool { return openFiles(t) <= files && runtime.NumGoroutine() <= routines }) {
		t.Errorf("%d files and %d goroutines, before there were %d and %d",
			openFiles(t), runtime.NumGoroutine(), files, routines)
	}
}

// comes waits for what comes by itself.
func comes(ctx context.Context, is func() bool) bool {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc on this system: ", err)
	}
	return len(entries)
}

// logged is a log that can be read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *logged) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func (w *logged) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// Who announces a message over the limit is cut off before it has sent it, and the log names
// the limit.
func TestAnnouncedSizeIsRefused(t *testing.T) {
	const limit = 1 << 20
	s := startServer(t, checkpointDir, limit)
	log := &logged{}
	s.log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	open, _ := greeting(t, s)
	for _, announced := range []uint32{limit + 1, 1<<32 - 1} {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write(append(bytes.Clone(open), message(announced, []byte{1})...)); err != nil {
			t.Fatal(err)
		}
		// Trailers: headers that end the stream.
		for head, ended := make([]byte, 9), false; !ended; {
			if _, err := io.ReadFull(c, head); err != nil {
				t.Fatalf("announced %d: %v", announced, err)
			}
			ended = head[3] == 1 && head[4]&1 == 1
			length := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
			if _, err := io.CopyN(io.Discard, c, length); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.Close()
	}
	if text := log.String(); !strings.Contains(text, "lane ended") || !strings.Contains(text, "1048576") {
		t.Errorf("the log does not name the limit:\n%s", text)
	}
}

// Streams beyond the limit are refused with a typed error, and their places are given back.
func TestStreamsAreBounded(t *testing.T) {
	s := startServer(t, checkpointDir, 1<<20)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	open := func(ctx context.Context) (conclavev1.ExpertService_DispatchClient, error) {
		stream, err := s.dial(t).Dispatch(ctx) // each on a connection of its own
		if err == nil {
			_, err = stream.Header()
		}
		if err == nil && ctx.Err() == nil {
			return stream, nil
		}
		return nil, err
	}
	held, release := context.WithCancel(ctx)
	for range maxStreams {
		if _, err := open(held); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := s.dial(t).Dispatch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = stream.RecvMsg(&wire.Response{})
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "streams open") {
		t.Errorf("one stream too many ended with %v", err)
	}
	release()
	if !comes(ctx, func() bool { return s.streams.Load() == 0 }) {
		t.Errorf("%d streams are counted as open", s.streams.Load())
	}
	if _, err := open(ctx); err != nil {
		t.Errorf("after all had gone: %v", err)
	}
}

// Strangers that keep large messages half sent are hung up on, whoever holds most first; a
// coordinator's lane goes on.
func TestBytesOfStrangersAreBounded(t *testing.T) {
	const limit = 1 << 20
	s := startServer(t, checkpointDir, limit)
	open, _ := greeting(t, s)
	lane := s.open(t)
	half := append([]byte{}, open...)
	body := append(binary.BigEndian.AppendUint32([]byte{0}, limit), make([]byte, limit-1000)...)
	for len(body) > 0 {
		n := min(len(body), 16<<10)
		half = append(half, frame(0, 0, 1, body[:n])...)
		body = body[n:]
	}
	var ended atomic.Int32
	var reading sync.WaitGroup
	for range 2 * budgetMessages {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer reading.Wait()
		defer func() { _ = c.Close() }()
		_, _ = c.Write(half) // it may be hung up on in the midst of it
		reading.Go(func() {
			_, _ = io.Copy(io.Discard, c)
			ended.Add(1)
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if !comes(ctx, func() bool { return ended.Load() >= budgetMessages-1 }) {
		t.Errorf("%d strangers were hung up on", ended.Load())
	}
	if resp := lane.ask(lane.good()); resp.Status != wire.StatusOK {
		t.Errorf("the coordinator got %v: %s", resp.Status, resp.Message)
	}
}
