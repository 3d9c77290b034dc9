package border

import (
	"net"
	"testing"
	"time"
)

// pipes accepts connections of a listener with a budget, as n clients dial.
func pipes(t *testing.T, b *Budget, n int) (clients, served []net.Conn) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lis := b.Listener(inner)
	defer lis.Close()
	for range n {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := lis.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // far beyond what it takes
		_ = s.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { _, _ = c.Close(), s.Close() })
		clients, served = append(clients, c), append(served, s)
	}
	return clients, served
}

func pass(t *testing.T, from, to net.Conn, n int) {
	t.Helper()
	if _, err := from.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, n); n > 0; {
		k, err := to.Read(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		n -= k
	}
}

// Whoever holds most is hung up on when all hold too much; who has released its bytes is not.
func TestBudget(t *testing.T) {
	b := NewBudget(1000)
	clients, served := pipes(t, b, 3)
	for range 5 { // far more than the budget, one after the other
		pass(t, clients[0], served[0], 900)
		b.Release(served[0].RemoteAddr())
	}
	ends := []func(){b.Open(served[1].RemoteAddr()), b.Open(served[1].RemoteAddr())}
	pass(t, clients[1], served[1], 600)
	b.Release(served[1].RemoteAddr()) // one stream of two
	b.Hold(served[2].RemoteAddr(), 300)
	pass(t, clients[0], served[0], 100)
	pass(t, clients[0], served[0], 1) // one beyond
	if _, err := clients[1].Read(make([]byte, 1)); err == nil {
		t.Error("the connection that held most is still open")
	}
	pass(t, clients[0], served[0], 1)
	pass(t, clients[2], served[2], 1)
	for _, s := range served {
		_ = s.Close()
	}
	for _, end := range ends {
		end()
	}
	if b.sum != 0 || len(b.held) != 0 {
		t.Errorf("%d bytes are held by %d connections after all were closed", b.sum, len(b.held))
	}
}
