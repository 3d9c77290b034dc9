package border

import (
	"net"
	"sync"
	"sync/atomic"
)

// Listener returns lis with at most limit connections open at once; those beyond are
// closed as they come.
func Listener(lis net.Listener, limit int) net.Listener {
	return &listener{Listener: lis, limit: int64(limit)}
}

type listener struct {
	net.Listener
	limit int64
	open  atomic.Int64
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.limit {
			return &conn{Conn: c, release: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		_ = c.Close() // a stranger's
	}
}

// conn gives its place back when it is closed.
type conn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
