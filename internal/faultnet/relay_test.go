package faultnet

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that says what it hears.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return listener.Addr().String()
}

// Bytes come back whole, in order, and not before twice the delay.
func TestRelay(t *testing.T) {
	const delay = 30 * time.Millisecond
	r, err := Listen(echo(t), delay)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 3<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(want)
	began := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(want)
		sent <- err
	}()
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*delay {
		t.Errorf("the first byte came after %v", took)
	}
	rest := make([]byte, len(want)-1)
	if _, err := io.ReadFull(conn, rest); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if !bytes.Equal(append(first, rest...), want) {
		t.Error("the bytes are not those that were sent")
	}
	_ = conn.Close()
}

// Nobody behind the relay, and a relay that closes: the connection ends.
func TestRelayEnds(t *testing.T) {
	r, err := Listen("127.0.0.1:1", 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("read something from nobody")
	}
	_ = conn.Close()
	r.Close()

	if r, err = Listen(echo(t), time.Hour); err != nil {
		t.Fatal(err)
	}
	if conn, err = net.Dial("tcp", r.Addr()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("read something through a closed relay")
	}
	_ = conn.Close()
}

// A relay that is down holds what was said until it is up again.
func TestRelayHolds(t *testing.T) {
	r, err := Listen(echo(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Set(Link{}, Link{Down: true})
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("held")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("read something through a relay that is down")
	}
	r.Set(Link{}, Link{})
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "held" {
		t.Errorf("read %q, %v", got, err)
	}
}
