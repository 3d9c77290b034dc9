package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// maxPayload bounds what a bare socket echoes.
const maxPayload = 64 << 20

// echo answers on bare sockets: whoever connects says in sixteen bytes how long its messages are
// and of how many tokens, and gets each one back. One goroutine reads and writes, as the floor of
// any RPC would. Tokens, if there are any, come back as what the expert makes of them, and eight
// bytes behind them say how many nanoseconds that took.
type echo struct {
	listener net.Listener
	expert   *rawExpert
	running  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// startEcho takes over the listener. Without an expert there are no tokens.
func startEcho(listener net.Listener, expert *rawExpert) *echo {
	e := &echo{listener: listener, expert: expert, conns: map[net.Conn]bool{}}
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
	var asked [16]byte
	if _, err := io.ReadFull(conn, asked[:]); err != nil {
		return
	}
	n, tokens := binary.LittleEndian.Uint64(asked[:]), binary.LittleEndian.Uint64(asked[8:])
	format := e.expert.formatOf(n, tokens)
	if n == 0 || n > maxPayload || tokens > 0 && format == 0 {
		return
	}
	message := make([]byte, n+tookBytes)
	for {
		if _, err := io.ReadFull(conn, message[:n]); err != nil {
			return
		}
		answer := message[:n]
		if tokens > 0 {
			took := e.expert.run(answer, int(tokens), format)
			answer = binary.LittleEndian.AppendUint64(answer, uint64(took))
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// tookBytes is what a computed answer is longer than its question.
const tookBytes = 8

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
	message []byte // of the question; room for the answer
	answer  int    // bytes of it
}

// dialRaw connects to an echo of so many bytes, which are tokens that are computed unless there are
// none.
func dialRaw(ctx context.Context, end End, payload, tokens int) (*rawSocket, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, end.Network, end.Raw)
	if err != nil {
		return nil, fmt.Errorf("connect to the bare socket: %w", err)
	}
	r := &rawSocket{conn: conn, message: make([]byte, payload, payload+tookBytes), answer: payload}
	if tokens > 0 {
		r.answer += tookBytes
	}
	var asked [16]byte
	binary.LittleEndian.PutUint64(asked[:], uint64(payload))
	binary.LittleEndian.PutUint64(asked[8:], uint64(tokens))
	if _, err := conn.Write(asked[:]); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return r, nil
}

// roundTrip sends the payload and reads the answer. It returns the seconds of that, but for those
// in which tokens were computed.
func (r *rawSocket) roundTrip() (float64, error) {
	began := time.Now()
	if _, err := r.conn.Write(r.message); err != nil {
		return 0, err
	}
	answer := r.message[:r.answer]
	if _, err := io.ReadFull(r.conn, answer); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if r.answer > len(r.message) {
		took -= time.Duration(binary.LittleEndian.Uint64(answer[len(r.message):]))
	}
	return took.Seconds(), nil
}

// rawExpert is the worker's expert, for bare sockets: one at a time, as a worker's calls are.
type rawExpert struct {
	expert     *shard.Expert
	activation model.Activation
	hidden     int
	pool       *kernels.Pool

	mu   sync.Mutex
	work shard.Work
	x    []float32
	rows []uint32
	ones []float32

	// The message at hand.
	format wire.Format
	out    []byte
}

// formatOf is what so many tokens in n bytes are in; 0: nothing that a worker takes.
func (e *rawExpert) formatOf(n, tokens uint64) wire.Format {
	if e == nil || n > maxPayload || tokens > n {
		return 0
	}
	for _, f := range []wire.Format{wire.BF16, wire.F32} {
		if n == tokens*uint64(e.hidden*f.Size()) {
			return f
		}
	}
	return 0
}

// run replaces tokens by what the expert makes of them and returns how long that took.
func (e *rawExpert) run(message []byte, tokens int, format wire.Format) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	began := time.Now()
	for len(e.rows) < tokens {
		e.rows, e.ones = append(e.rows, uint32(len(e.rows))), append(e.ones, 1)
	}
	if n := tokens * e.hidden; len(e.x) < n {
		e.x = make([]float32, n)
	}
	x := e.x[:tokens*e.hidden]
	e.format, e.out = format, message
	e.format.Decode(x, message)
	e.work.RunGroup(e.pool, e.activation, shard.Group{
		Experts: []*shard.Expert{e.expert}, Counts: []uint32{uint32(tokens)}, X: x,
		Rows: e.rows[:tokens], Weights: e.ones[:tokens],
	}, e)
	e.out = nil
	return time.Since(began)
}

// Put implements shard.Sink.
func (e *rawExpert) Put(row, from int, y []float32) {
	size := e.format.Size()
	at := (row*e.hidden + from) * size
	e.format.Encode(e.out[at:at+len(y)*size], y)
}
