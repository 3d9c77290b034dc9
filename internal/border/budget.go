package border

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// Budget bounds the bytes that all connections of a listener hold in this process: what came on
// one and was not dealt with, and what waits for its peer to read it. Beyond the bound the
// connection that holds most is closed. Its methods may be called concurrently.
type Budget struct {
	limit int64

	mu   sync.Mutex
	sum  int64
	held map[*counted]int64
}

// NewBudget returns a budget of so many bytes.
func NewBudget(limit int64) *Budget {
	return &Budget{limit: limit, held: map[*counted]int64{}}
}

// Listener returns lis, of whose connections the budget counts what is read. Their remote
// addresses are what Hold and Release know them by.
func (b *Budget) Listener(lis net.Listener) net.Listener { return &countingListener{lis, b} }

// Hold counts bytes that are held for the peer of a connection besides what was read.
func (b *Budget) Hold(peer net.Addr, bytes int) {
	if a, ok := peer.(countedAddr); ok {
		b.add(a.conn, int64(bytes))
	}
}

// Open counts a stream on a connection, until the function that it returns is called.
func (b *Budget) Open(peer net.Addr) (end func()) {
	a, ok := peer.(countedAddr)
	if !ok {
		return func() {}
	}
	a.conn.streams.Add(1)
	return func() {
		if a.conn.streams.Add(-1) == 0 {
			b.Release(peer)
		}
	}
}

// Release says that a stream holds nothing more. If it has the connection to itself, as a
// coordinator's has, neither does the connection; whose bytes the others are nobody knows.
func (b *Budget) Release(peer net.Addr) {
	if a, ok := peer.(countedAddr); ok && a.conn.streams.Load() <= 1 {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.forget(a.conn)
	}
}

// forget takes what a connection holds out of the sum. b.mu is held.
func (b *Budget) forget(c *counted) {
	b.sum -= b.held[c]
	delete(b.held, c)
}

// add counts bytes, and closes the connection that holds most if there are too many.
func (b *Budget) add(c *counted, bytes int64) {
	b.mu.Lock()
	b.held[c] += bytes
	b.sum += bytes
	var most *counted
	if b.sum > b.limit {
		for other, n := range b.held {
			if most == nil || n > b.held[most] {
				most = other
			}
		}
		b.forget(most) // once: its memory goes with its streams
	}
	b.mu.Unlock()
	if most != nil {
		_ = most.Conn.Close() // its reader learns why
	}
}

type countingListener struct {
	net.Listener
	budget *Budget
}

// Accept implements net.Listener.
func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &counted{Conn: c, budget: l.budget}, nil
}

// counted is a connection whose bytes count.
type counted struct {
	net.Conn
	budget  *Budget
	streams atomic.Int32
}

// countedAddr is the address of a counted connection's peer.
type countedAddr struct {
	net.Addr
	conn *counted
}

// RemoteAddr implements net.Conn.
func (c *counted) RemoteAddr() net.Addr { return countedAddr{c.Conn.RemoteAddr(), c} }

// Read implements net.Conn.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !errors.Is(err, net.ErrClosed) {
		c.budget.add(c, int64(n))
	}
	return n, err
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.budget.mu.Lock()
	c.budget.forget(c)
	c.budget.mu.Unlock()
	return c.Conn.Close()
}
