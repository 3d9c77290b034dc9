package faultnet

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// twoHosts joins two hosts, or skips the test where nobody may make any.
func twoHosts(t *testing.T) (*Switch, []*Host) {
	t.Helper()
	var hosts []*Host
	for i := range 2 {
		h, err := NewHost(netip.MustParsePrefix(fmt.Sprintf("10.77.0.%d/24", i+1)))
		if err != nil {
			for _, made := range hosts {
				made.Close()
			}
			t.Skipf("no network namespaces here: %v", err)
		}
		hosts = append(hosts, h)
	}
	s := NewSwitch(hosts...)
	t.Cleanup(s.Close)
	return s, hosts
}

// A connection between hosts carries bytes both ways, later if the link is slow,
// and nothing while one way of it is down.
func TestSwitch(t *testing.T) {
	s, hosts := twoHosts(t)
	listener, err := hosts[1].Listen("10.77.0.2:80")
	if err != nil {
		t.Fatal(err)
	}
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		if conn, err := listener.Accept(); err == nil {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	defer func() { _ = listener.Close(); <-echoed }()
	conn, err := hosts[0].Dial(t.Context(), "tcp", "10.77.0.2:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(patience time.Duration) error {
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err
	}
	const long = time.Minute
	if err := ask(long); err != nil {
		t.Fatal(err)
	}
	const delay = 40 * time.Millisecond
	s.Set(0, 1, Link{Delay: delay})
	s.Set(1, 0, Link{Delay: delay})
	began := time.Now()
	if err := ask(long); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*delay {
		t.Errorf("an answer came after %v", took)
	}
	s.Set(0, 1, Link{})
	s.Set(1, 0, Link{Down: true})
	if err := ask(200 * time.Millisecond); err == nil {
		t.Error("an answer came although the way back is down")
	}
	s.Set(1, 0, Link{})
	if err := conn.SetReadDeadline(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Errorf("after the way is up again: %v", err)
	}
}

// The host's network is its own.
func TestHostIsApart(t *testing.T) {
	_, hosts := twoHosts(t)
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	if conn, err := hosts[0].Dial(t.Context(), "tcp", outside.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("a host reached this machine's loopback")
	}
}
