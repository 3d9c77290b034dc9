package faultnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// chunkBytes are handed on together; underWay chunks make 4 MiB, more than a
	// link of 10 Gbit/s holds in 3 ms.
	chunkBytes = 64 << 10
	underWay   = 64
)

// Relay forwards TCP connections to one address.
type Relay struct {
	target   string
	toward   *direction // from whoever dials the relay to the target
	back     *direction
	listener net.Listener
	ctx      context.Context
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// Listen starts a relay on loopback to target. Bytes take delay longer, in each
// direction.
func Listen(target string, delay time.Duration) (*Relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("relay to %s: %w", target, err)
	}
	link := Link{Delay: delay}
	r := &Relay{
		target: target, toward: newDirection(link), back: newDirection(link), listener: listener,
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.running.Go(r.accept)
	return r, nil
}

// Addr is where the relay listens.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Set makes the way to the target and the way back like links, from now on.
// Whoever dials while a way is down gets a connection on which nothing arrives.
func (r *Relay) Set(toward, back Link) {
	r.toward.set(toward)
	r.back.set(back)
}

// Close cuts all connections and waits for what served them.
func (r *Relay) Close() {
	r.stop()
	_ = r.listener.Close() // nothing is lost that Close does not cut
	r.running.Wait()
}

func (r *Relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.connect(near) })
	}
}

// connect relays one connection until either side ends it.
func (r *Relay) connect(near net.Conn) {
	defer func() { _ = near.Close() }()
	far, err := (&net.Dialer{}).DialContext(r.ctx, "tcp", r.target)
	if err != nil {
		return // the caller sees its connection end, as behind a real router
	}
	defer func() { _ = far.Close() }()
	ctx, cut := context.WithCancel(r.ctx)
	defer cut()
	stop := context.AfterFunc(ctx, func() { _, _ = near.Close(), far.Close() })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { defer cut(); pump(ctx, far, near, r.toward) })
	both.Go(func() { defer cut(); pump(ctx, near, far, r.back) })
	both.Wait()
}

// chunk is some bytes and when they are due.
type chunk struct {
	bytes []byte
	due   time.Time
}

// pump hands on what from says, as late as the way is slow.
func pump(ctx context.Context, to, from net.Conn, way *direction) {
	line := make(chan chunk, underWay)
	var writer sync.WaitGroup
	defer writer.Wait()
	defer close(line)
	writer.Go(func() { deliver(ctx, to, line, way) })
	for {
		b := make([]byte, chunkBytes)
		n, err := from.Read(b)
		if n > 0 {
			link, _ := way.get()
			select {
			case line <- chunk{b[:n], time.Now().Add(link.Delay)}:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// deliver writes chunks when they are due and the way is not down.
func deliver(ctx context.Context, to net.Conn, line <-chan chunk, way *direction) {
	for c := range line {
		select {
		case <-time.After(time.Until(c.due)):
		case <-ctx.Done():
			return
		}
		way.awaitUp(ctx)
		if ctx.Err() != nil {
			return
		}
		if _, err := to.Write(c.bytes); err != nil {
			return
		}
	}
}
