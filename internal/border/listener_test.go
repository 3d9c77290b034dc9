package border

import (
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Connections beyond the limit end at once; a place that is given back is taken again.
func TestListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const limit = 3
	lis := Listener(inner, limit)
	accepted := make(chan net.Conn, 2*limit)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	defer func() {
		_ = lis.Close()
		<-ended
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // far beyond what it takes
		return c
	}
	var held []net.Conn
	for range limit {
		dial()
		held = append(held, <-accepted)
	}
	for range 5 {
		if n, err := dial().Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("a connection beyond the limit was read from: %d bytes, %v", n, err)
		}
	}
	_ = held[0].Close()
	_ = held[0].Close() // a second time gives nothing back
	dial()
	held[0] = <-accepted
	if n, err := dial().Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("one close gave two places back: %d bytes, %v", n, err)
	}
	for _, c := range held {
		_ = c.Close()
	}
	dial()
	_ = (<-accepted).Close()
}
