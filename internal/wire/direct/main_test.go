package direct_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/internal/wire/direct"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience   = 20 * time.Second // far beyond what anything takes
	maxMessage = 64 << 20
)

// echo answers a request with its activations, and what else it says in the message.
type echo struct {
	conclavev1.UnimplementedExpertServiceServer
	work func(stream grpc.ServerStream, req *wire.Request) error // before an answer; may be nil
	size int                                                     // of Describe's answer
}

func (e *echo) Describe(context.Context, *conclavev1.DescribeRequest) (*conclavev1.DescribeResponse, error) {
	if e.size < 0 {
		return nil, status.Error(codes.FailedPrecondition, "100 % refused: ünfit")
	}
	return &conclavev1.DescribeResponse{WorkerId: "echo", Model: string(make([]byte, e.size))}, nil
}

func (e *echo) Dispatch(stream conclavev1.ExpertService_DispatchServer) error {
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	var req wire.Request
	var buffers wire.Buffers
	resp := wire.Response{Buffers: &buffers}
	for {
		if err := stream.RecvMsg(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		resp.Reset()
		resp.ID, resp.Status, resp.Format = req.ID, wire.StatusOK, req.Format
		copy(resp.Outputs.Reserve(&buffers, len(req.Activations.Bytes())), req.Activations.Bytes())
		if e.work != nil {
			if err := e.work(stream, &req); err != nil {
				return err
			}
		}
		if err := stream.SendMsg(&resp); err != nil {
			return err
		}
	}
}

// serve starts an echo on a listener: with lanes on the direct transport unless stock.
func serve(t testing.TB, e *echo, stock bool, lis net.Listener) (addr string) {
	t.Helper()
	server := grpc.NewServer(wire.ServerOptions(maxMessage)...)
	conclavev1.RegisterExpertServiceServer(server, e)
	own := direct.NewServer(direct.ServerOptions{MaxMessage: maxMessage})
	conclavev1.RegisterExpertServiceServer(own, e)
	addr = lis.Addr().String()
	if !stock {
		lis = own.Split(lis)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	t.Cleanup(func() {
		own.Stop()
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return addr
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return lis
}

type conn interface {
	grpc.ClientConnInterface
	io.Closer
}

func dial(ctx context.Context, t testing.TB, addr string, stock bool) conn {
	t.Helper()
	var c conn
	var err error
	if stock {
		c, err = grpc.NewClient("passthrough:///"+addr, append(wire.DialOptions(maxMessage),
			grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	} else {
		var raw net.Conn
		if raw, err = net.Dial("tcp", addr); err == nil {
			c, err = direct.Dial(ctx, raw, direct.Options{MaxMessage: maxMessage, Authority: addr})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// lane is a client's end of a stream.
type lane struct {
	t       testing.TB
	stream  grpc.ClientStream
	buffers wire.Buffers
	req     wire.Request
	resp    wire.Response
}

func open(ctx context.Context, t testing.TB, c grpc.ClientConnInterface) *lane {
	t.Helper()
	stream, err := conclavev1.NewExpertServiceClient(c).Dispatch(ctx)
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		t.Fatal(err)
	}
	return &lane{t: t, stream: stream}
}

// send sends a request of n bytes with a pattern of its own.
func (l *lane) send(id uint64, n int) error {
	l.req.ID, l.req.Format, l.req.Buffers = id, wire.BF16, &l.buffers
	l.req.Rows = append(l.req.Rows[:0], 1, 2, 3)
	l.req.Weights = append(l.req.Weights[:0], 1, 2, 3)
	pattern(l.req.Activations.Reserve(&l.buffers, n), id)
	return l.stream.SendMsg(&l.req)
}

// pattern fills b with what no shift of it has.
func pattern(b []byte, id uint64) {
	n := min(len(b), 4093) // a prime
	for i := range n {
		b[i] = byte(uint64(i)*7 + uint64(i>>8) + id)
	}
	for n > 0 && n < len(b) {
		n += copy(b[n:], b[:n])
	}
}

// receive checks an answer.
func (l *lane) receive(id uint64, n int) error {
	if err := l.stream.RecvMsg(&l.resp); err != nil {
		return err
	}
	want := make([]byte, n)
	pattern(want, id)
	if got := l.resp.Outputs.Bytes(); l.resp.ID != id || !bytes.Equal(got, want) {
		l.t.Errorf("answer %d of %d bytes, want %d of %d; or they differ", l.resp.ID, len(got), id, n)
	}
	return nil
}

func (l *lane) ask(id uint64, n int) {
	l.t.Helper()
	if err := l.send(id, n); err != nil {
		l.t.Fatal(err)
	}
	if err := l.receive(id, n); err != nil {
		l.t.Fatal(err)
	}
}
