package wire

import (
	"sync"
	"unsafe"

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
	idle []*block
}

// block is a buffer with room in front of it, for what a transport that writes in one piece puts
// before a payload. Who holds a pointer to its bytes holds one to it: they come first.
type block struct {
	bytes []byte
	whole []byte
}

// room is how much a block has in front: the head of a request for some hundred rows.
const room = 1 << 10

var _ mem.BufferPool = (*bufferList)(nil)

// Get returns a buffer of length n.
func (l *bufferList) Get(n int) *[]byte { return &l.get(n).bytes }

func (l *bufferList) get(n int) *block {
	l.mu.Lock()
	for i := len(l.idle) - 1; i >= 0; i-- {
		if b := l.idle[i]; cap(b.bytes) >= n {
			l.idle[i] = l.idle[len(l.idle)-1]
			l.idle = l.idle[:len(l.idle)-1]
			l.mu.Unlock()
			b.bytes = b.bytes[:n]
			return b
		}
	}
	// What is kept is too small for the traffic of now.
	if len(l.idle) > 0 {
		l.idle = l.idle[:len(l.idle)-1]
	}
	l.mu.Unlock()
	whole := make([]byte, room+max(n, minBuffer))
	return &block{bytes: whole[room:][:n], whole: whole}
}

// Put takes a buffer back; the transport calls it when the bytes have left. A head that was
// longer than its block has moved out of it for good; heads need no room.
func (l *bufferList) Put(b *[]byte) { l.put((*block)(unsafe.Pointer(b))) }

func (l *bufferList) put(b *block) {
	l.mu.Lock()
	if len(l.idle) < maxIdle {
		l.idle = append(l.idle, b)
	}
	l.mu.Unlock()
}

// Payload is the bulk of a message. An incoming one keeps its memory from
// message to message; an outgoing one is given away with every send.
type Payload struct {
	out  *block
	pool *bufferList
	body []byte
}

// Bytes returns the payload. Of an outgoing message it is valid until the
// message is sent.
func (p *Payload) Bytes() []byte {
	if p.out != nil {
		return p.out.bytes
	}
	return p.body
}

// Reserve makes p an outgoing payload of n bytes from b and returns them to
// be written.
func (p *Payload) Reserve(b *Buffers, n int) []byte {
	p.Release()
	p.pool = &b.bodies
	p.out = p.pool.get(n)
	return p.out.bytes
}

// Release takes back an outgoing payload that has left, or that is not sent after all.
func (p *Payload) Release() {
	if p.out != nil {
		p.pool.put(p.out)
		p.out = nil
	}
}

// handOver gives the outgoing bytes to the transport.
func (p *Payload) handOver() mem.Buffer {
	if p.out == nil {
		return mem.SliceBuffer(p.body)
	}
	buf := mem.NewBuffer(&p.out.bytes, p.pool)
	p.out = nil
	return buf
}

// incoming sizes p for n bytes, of which the first have are there.
func (p *Payload) incoming(have, n int) []byte {
	if cap(p.body) < n {
		body := make([]byte, n)
		copy(body, p.body[:have])
		p.body = body
	}
	p.body = p.body[:n]
	return p.body
}
