package direct_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/internal/wire/direct"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

// recorded is a connection that keeps what goes either way.
type recorded struct {
	net.Conn
	mu       sync.Mutex
	out, got bytes.Buffer
}

func (r *recorded) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.out.Write(p)
	r.mu.Unlock()
	return r.Conn.Write(p)
}

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.mu.Lock()
	r.got.Write(p[:n])
	r.mu.Unlock()
	return n, err
}

// stockBytes is what a stock client and a stock server say to each other.
func stockBytes(f *testing.F) (client, server []byte) {
	f.Helper()
	var conn *recorded
	addr := serve(f, &echo{}, true, listen(f))
	c, err := grpc.NewClient("passthrough:///"+addr, append(wire.DialOptions(maxMessage),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(_ context.Context, addr string) (net.Conn, error) {
			raw, err := net.Dial("tcp", addr)
			conn = &recorded{Conn: raw}
			return conn, err
		}))...)
	if err != nil {
		f.Fatal(err)
	}
	defer c.Close()
	l := open(f.Context(), f, c)
	for i := range 3 {
		l.ask(uint64(i), 300*i)
	}
	_, err = conclavev1.NewExpertServiceClient(c).Describe(f.Context(), &conclavev1.DescribeRequest{})
	if err != nil {
		f.Fatal(err)
	}
	if err := l.stream.CloseSend(); err != nil {
		f.Fatal(err)
	}
	_ = l.stream.RecvMsg(&l.resp) // the end
	conn.mu.Lock()
	defer conn.mu.Unlock()
	return bytes.Clone(conn.out.Bytes()), bytes.Clone(conn.got.Bytes())
}

// seeds are parts of a conversation, and some with a wrong byte.
func seeds(f *testing.F, said []byte) {
	f.Add(said)
	for i := 1; i < 20; i++ {
		f.Add(said[:len(said)*i/20])
		wrong := bytes.Clone(said)
		wrong[len(said)*i/20] ^= 0x55
		f.Add(wrong)
	}
}

// pipeListener has one connection.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// Whatever a client says, the server ends with the connection.
func FuzzServer(f *testing.F) {
	client, _ := stockBytes(f)
	seeds(f, client)
	f.Fuzz(func(_ *testing.T, said []byte) {
		server := direct.NewServer(direct.ServerOptions{MaxMessage: 1 << 20})
		conclavev1.RegisterExpertServiceServer(server, &echo{})
		near, far := net.Pipe()
		lis := &pipeListener{conns: make(chan net.Conn, 1), done: make(chan struct{})}
		lis.conns <- far
		rest := server.Split(lis)
		var others sync.WaitGroup
		others.Go(func() {
			for {
				c, err := rest.Accept()
				if err != nil {
					return
				}
				_ = c.Close()
			}
		})
		others.Go(func() { _, _ = io.Copy(io.Discard, near) })
		_ = near.SetWriteDeadline(time.Now().Add(patience))
		_, _ = near.Write(said)
		_ = near.Close()
		_ = rest.Close()
		server.Stop()
		others.Wait()
	})
}

// Whatever a server says, the client's calls end with the connection.
func FuzzClient(f *testing.F) {
	_, server := stockBytes(f)
	seeds(f, server)
	f.Fuzz(func(t *testing.T, said []byte) {
		near, far := net.Pipe()
		var serving sync.WaitGroup
		serving.Go(func() { _, _ = io.Copy(io.Discard, far) })
		serving.Go(func() {
			_ = far.SetWriteDeadline(time.Now().Add(patience))
			_, _ = far.Write(said)
			_ = far.Close()
		})
		c, err := direct.Dial(t.Context(), near, direct.Options{MaxMessage: 1 << 20})
		if err == nil {
			client := conclavev1.NewExpertServiceClient(c)
			if len(said)%2 == 0 {
				_, _ = client.Describe(t.Context(), &conclavev1.DescribeRequest{})
			}
			if stream, err := client.Dispatch(t.Context()); err == nil {
				_ = stream.(grpc.ClientStream).SendMsg(&wire.Request{ID: 1})
				for range 5 {
					if stream.RecvMsg(&wire.Response{}) != nil {
						break
					}
				}
			}
			_ = c.Close()
		}
		_ = near.Close()
		serving.Wait()
	})
}
