package wire

import (
	"sync"

	"google.golang.org/grpc/mem"
)

// minBuffer is the smallest capacity handed out. gRPC does not report back on
// buffers below its own pooling threshold of 1 KiB, so smaller ones would
// never return.
const minBuffer = 2 << 10

// maxIdle bounds the buffers that a pool keeps. A lane has at most a handful
// of messages in flight; what returns beyond that is left to the collector.
const maxIdle = 8

// Buffers recycles the memory of outgoing messages. It is safe for concurrent
// use: buffers return on the transport's goroutines.
type Buffers struct {
	heads, bodies bufferList
}

// bufferList implements mem.BufferPool over buffers of similar size.
type bufferList struct {
	mu   sync.Mutex
	idle []*[]byte
}

var _ mem.BufferPool = (*bufferList)(nil)

// Get returns a buffer of length n.
func (l *bufferList) Get(n int) *[]byte {
	l.mu.Lock()
	for i := len(l.idle) - 1; i >= 0; i-- {
		if b := l.idle[i]; cap(*b) >= n {
			l.idle[i] = l.idle[len(l.idle)-1]
			l.idle = l.idle[:len(l.idle)-1]
			l.mu.Unlock()
			*b = (*b)[:n]
			return b
		}
	}
	// What is kept is too small for the traffic of now.
	if len(l.idle) > 0 {
		l.idle = l.idle[:len(l.idle)-1]
	}
	l.mu.Unlock()
	b := make([]byte, n, max(n, minBuffer))
	return &b
}

// Put takes a buffer back; the transport calls it when the bytes have left.
func (l *bufferList) Put(b *[]byte) {
	l.mu.Lock()
	if len(l.idle) < maxIdle {
		l.idle = append(l.idle, b)
	}
	l.mu.Unlock()
}

// Payload is the bulk of a message. An incoming one keeps its memory from
// message to message; an outgoing one is given away with every send.
type Payload struct {
	buf  *[]byte
	pool *bufferList
	body []byte
}

// Bytes returns the payload. Of an outgoing message it is valid until the
// message is sent.
func (p *Payload) Bytes() []byte {
	if p.buf != nil {
		return *p.buf
	}
	return p.body
}

// Reserve makes p an outgoing payload of n bytes from b and returns them to
// be written.
func (p *Payload) Reserve(b *Buffers, n int) []byte {
	if p.buf != nil {
		p.pool.Put(p.buf)
	}
	p.pool = &b.bodies
	p.buf = p.pool.Get(n)
	return *p.buf
}

// handOver gives the outgoing bytes to the transport.
func (p *Payload) handOver() mem.Buffer {
	if p.buf == nil {
		return mem.SliceBuffer(p.body)
	}
	buf := mem.NewBuffer(p.buf, p.pool)
	p.buf = nil
	return buf
}

// incoming sizes p for n received bytes.
func (p *Payload) incoming(n int) []byte {
	if cap(p.body) < n {
		p.body = make([]byte, n)
	}
	p.body = p.body[:n]
	return p.body
}
