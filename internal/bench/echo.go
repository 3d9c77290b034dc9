package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// maxPayload bounds what a bare socket echoes.
const maxPayload = 64 << 20

// echo answers on bare sockets: whoever connects says in eight bytes how long its messages are, and
// gets each one back. One goroutine reads and writes, as the floor of any RPC would.
type echo struct {
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// startEcho takes over the listener.
func startEcho(listener net.Listener) *echo {
	e := &echo{listener: listener, conns: map[net.Conn]bool{}}
	e.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			if e.keep(conn) {
				e.running.Go(func() { e.serve(conn) })
			}
		}
	})
	return e
}

// keep notes a connection, for close.
func (e *echo) keep(conn net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.conns) == maxEchoes {
		_ = conn.Close() // nothing was said on it
		return false
	}
	e.conns[conn] = true
	return true
}

// maxEchoes is how many connections are served at once.
const maxEchoes = 64

func (e *echo) serve(conn net.Conn) {
	defer func() {
		e.mu.Lock()
		delete(e.conns, conn)
		e.mu.Unlock()
		_ = conn.Close() // its client has gone, or is told by it
	}()
	var size [8]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return
	}
	n := binary.LittleEndian.Uint64(size[:])
	if n == 0 || n > maxPayload {
		return
	}
	message := make([]byte, n)
	for {
		if _, err := io.ReadFull(conn, message); err != nil {
			return
		}
		if _, err := conn.Write(message); err != nil {
			return
		}
	}
}

// close ends the connections and waits for them.
func (e *echo) close() error {
	err := e.listener.Close()
	e.mu.Lock()
	e.closed = true
	for conn := range e.conns {
		_ = conn.Close() // wakes whoever reads
	}
	e.mu.Unlock()
	e.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// rawSocket is the other side of an echo.
type rawSocket struct {
	conn    net.Conn
	message []byte
}

func dialRaw(ctx context.Context, end End, payload int) (*rawSocket, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, end.Network, end.Raw)
	if err != nil {
		return nil, fmt.Errorf("connect to the bare socket: %w", err)
	}
	r := &rawSocket{conn: conn, message: make([]byte, payload)}
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(payload))
	if _, err := conn.Write(size[:]); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return r, nil
}

// roundTrip sends the payload and reads it back.
func (r *rawSocket) roundTrip() error {
	if _, err := r.conn.Write(r.message); err != nil {
		return err
	}
	_, err := io.ReadFull(r.conn, r.message)
	return err
}
