package direct_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/internal/wire/direct"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

// ends are who speaks to whom.
var ends = []struct {
	name           string
	client, server bool // stock
}{
	{"direct to direct", false, false},
	{"direct to stock", false, true},
	{"stock to direct", true, false},
}

// Any two ends exchange messages of every size: in one frame, in many, beyond the window.
func TestMessages(t *testing.T) {
	for _, e := range ends {
		t.Run(e.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
			defer cancel()
			c := dial(ctx, t, serve(t, &echo{}, e.server, listen(t)), e.client)
			if !e.client {
				is, err := conclavev1.NewExpertServiceClient(c).Describe(ctx, &conclavev1.DescribeRequest{})
				if err != nil || is.GetWorkerId() != "echo" {
					t.Fatal(is, err)
				}
			}
			l := open(ctx, t, c)
			for i, n := range []int{0, 1, 100, 16383, 16384, 70_000, 1 << 20, 9 << 20, 40 << 20, 3, 2 << 20} {
				l.ask(uint64(i), n)
			}
			if err := l.stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if err := l.stream.RecvMsg(&l.resp); !errors.Is(err, io.EOF) {
				t.Errorf("after all was said: %v", err)
			}
		})
	}
}

// Eight large requests are on their way before the first answer is taken: both directions are
// full, and all of it arrives.
func TestBothDirectionsFull(t *testing.T) {
	for _, e := range ends {
		t.Run(e.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
			defer cancel()
			l := open(ctx, t, dial(ctx, t, serve(t, &echo{}, e.server, listen(t)), e.client))
			var sending sync.WaitGroup
			const n = 6 << 20
			sending.Go(func() {
				for i := range 8 {
					if err := l.send(uint64(i), n); err != nil {
						t.Error(err)
					}
				}
			})
			for i := range 8 {
				if err := l.receive(uint64(i), n); err != nil {
					t.Fatal(err)
				}
			}
			sending.Wait()
		})
	}
}

// Statuses arrive as they were given, with their texts.
func TestStatuses(t *testing.T) {
	for _, e := range ends {
		t.Run(e.name, func(t *testing.T) {
			refuse := func(_ grpc.ServerStream, r *wire.Request) error {
				if r.ID == 2 {
					return status.Error(codes.NotFound, "50 % gone\n\x1b ü")
				}
				return nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c := dial(ctx, t, serve(t, &echo{work: refuse, size: -1}, e.server, listen(t)), e.client)
			_, err := conclavev1.NewExpertServiceClient(c).Describe(ctx, &conclavev1.DescribeRequest{})
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "100 % refused: ünfit") {
				t.Errorf("a unary call: %v", err)
			}
			l := open(ctx, t, c)
			l.ask(1, 100)
			if err := l.send(2, 100); err != nil {
				t.Fatal(err)
			}
			err = l.receive(2, 100)
			if status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "50 % gone\n\x1b ü") {
				t.Errorf("a stream: %v", err)
			}
		})
	}
}

// A stock client that has opened a lane may ask for other things on its connection.
func TestOtherStreamsOfALane(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := dial(ctx, t, serve(t, &echo{size: 300 << 10}, false, listen(t)), true)
	l := open(ctx, t, c)
	client := conclavev1.NewExpertServiceClient(c)
	for i := range 3 {
		is, err := client.Describe(ctx, &conclavev1.DescribeRequest{})
		if err != nil || is.GetWorkerId() != "echo" {
			t.Error(is.GetWorkerId(), err)
		}
		l.ask(uint64(i), 1<<20)
	}
	second, err := client.Dispatch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.RecvMsg(&l.resp); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a second lane: %v", err)
	}
	_, err = conclavev1.NewWeightServiceClient(c).Checksum(ctx, &conclavev1.ChecksumRequest{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("another service: %v", err)
	}
	l.ask(9, 100)
	if err := l.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := l.stream.RecvMsg(&l.resp); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	open(ctx, t, c).ask(1, 10) // another one, after the first
}

// A message over a limit is refused by whoever has the limit, by its announced length.
func TestLimits(t *testing.T) {
	for _, e := range ends {
		t.Run(e.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			l := open(ctx, t, dial(ctx, t, serve(t, &echo{}, e.server, listen(t)), e.client))
			err := l.send(1, maxMessage+1)
			if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "larger than max") {
				t.Errorf("too much: %v", err)
			}
			if !e.client {
				l.ask(2, 100) // nothing was sent
			}
		})
	}
}

// A client's deadline and its farewell both end the handler's context, also while it is at work.
func TestServerLearnsOfTheEnd(t *testing.T) {
	for _, e := range ends {
		for _, how := range []string{"cancel", "close", "deadline"} {
			t.Run(e.name+", "+how, func(t *testing.T) {
				ended := make(chan error, 1)
				wait := func(s grpc.ServerStream, r *wire.Request) error {
					if r.ID < 2 {
						return nil
					}
					select {
					case <-s.Context().Done():
						ended <- s.Context().Err()
						return s.Context().Err()
					case <-time.After(patience):
						ended <- errors.New("nothing was noticed")
						return nil
					}
				}
				all, cancelAll := context.WithTimeout(t.Context(), patience)
				defer cancelAll()
				addr := serve(t, &echo{work: wait}, e.server, listen(t))
				ctx, cancel := context.WithCancel(all)
				if how == "deadline" {
					ctx, cancel = context.WithTimeout(all, 200*time.Millisecond)
				}
				defer cancel()
				c := dial(all, t, addr, e.client)
				l := open(ctx, t, c)
				l.ask(1, 100)
				if err := l.send(2, 100); err != nil {
					t.Fatal(err)
				}
				switch how {
				case "cancel":
					cancel()
				case "close":
					_ = c.Close()
				}
				want := codes.Canceled
				if how == "deadline" {
					want = codes.DeadlineExceeded
				}
				if err := l.receive(2, 100); status.Code(err) != want {
					t.Errorf("the client learns %v", err)
				}
				if err := <-ended; !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
	}
}

// A connection may be any net.Conn: here TLS.
func TestTLS(t *testing.T) {
	server, client := certificates(t)
	lis := tls.NewListener(listen(t), server)
	addr := serve(t, &echo{}, false, lis)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	raw, err := tls.Dial("tcp", addr, client)
	if err != nil {
		t.Fatal(err)
	}
	if p := raw.ConnectionState().NegotiatedProtocol; p != "h2" {
		t.Errorf("they speak %q", p)
	}
	c, err := direct.Dial(ctx, raw, direct.Options{MaxMessage: maxMessage})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := conclavev1.NewExpertServiceClient(c).Describe(ctx, &conclavev1.DescribeRequest{}); err != nil {
		t.Fatal(err)
	}
	l := open(ctx, t, c)
	for i, n := range []int{1, 14 << 10, 5 << 20} {
		l.ask(uint64(i), n)
	}
}

func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	server = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2"},
	}
	return server, &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}}
}

// Steady traffic allocates nothing, at either end.
func TestNothingIsAllocated(t *testing.T) {
	addr := serve(t, &echo{}, false, listen(t))
	l := open(t.Context(), t, dial(t.Context(), t, addr, false))
	run := func() {
		if err := l.send(1, 14<<10); err != nil {
			t.Fatal(err)
		}
		if err := l.stream.RecvMsg(&l.resp); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		run()
	}
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("a message there and back allocates %v times", n)
	}
	if !bytes.Equal(l.resp.Outputs.Bytes()[:3], []byte{1, 8, 15}) {
		t.Error("the answer is another")
	}
}

// Who reads for a moment only stops in time, and hears what has come; others hear the rest.
func TestReceiveWithin(t *testing.T) {
	gate := make(chan struct{})
	slow := func(_ grpc.ServerStream, r *wire.Request) error {
		if r.ID == 3 {
			<-gate
		}
		return nil
	}
	addr := serve(t, &echo{work: slow}, false, listen(t))
	l := open(t.Context(), t, dial(t.Context(), t, addr, false))
	type within interface {
		RecvWithin(m any, d time.Duration) (bool, error)
	}
	client := l.stream.(*grpc.GenericClientStream[
		conclavev1.DispatchRequest, conclavev1.DispatchResponse]).ClientStream.(within)
	for id := range uint64(5) {
		if err := l.send(id, 100_000); err != nil {
			t.Fatal(err)
		}
		came := false
		for tries := 0; !came; tries++ {
			var err error
			if came, err = client.RecvWithin(&l.resp, time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if tries == 3 && id == 3 {
				close(gate)
				if err := l.receive(id, 100_000); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		if l.resp.ID != id {
			t.Errorf("answer %d, want %d", l.resp.ID, id)
		}
	}
	l.ask(9, 10)
}
