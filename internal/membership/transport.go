package membership

import (
	"fmt"
	"log"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// maxGossipStreams is how many streams from others are read at a time. memberlist closes
	// each within seconds; a member needs one every few seconds.
	maxGossipStreams = 32
	// maxGossipBytes bounds what comes on a stream: the states of 5,000 members take less.
	// memberlist's own bounds, of 20 MiB and a million members, are those of its allocations
	// for one stream.
	maxGossipBytes = 2 << 20
	// bindTries is for free ports: one has to be free for TCP and for UDP.
	bindTries = 10
)

// boundedTransport is memberlist's transport with bounds on the streams that strangers open,
// and on what anybody sends on one.
type boundedTransport struct {
	*memberlist.NetTransport
	streams chan net.Conn
	places  chan struct{} // one for each stream that is open
	done    chan struct{}
	stop    func()
	wg      sync.WaitGroup
}

var _ memberlist.NodeAwareTransport = (*boundedTransport)(nil)

// newTransport listens at the address of m, and tells m the port.
func newTransport(m *memberlist.Config, logger *log.Logger) (*boundedTransport, error) {
	tries := 1
	if m.BindPort == 0 {
		tries = bindTries
	}
	var inner *memberlist.NetTransport
	var err error
	for range tries {
		inner, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{m.BindAddr}, BindPort: m.BindPort, Logger: logger,
		})
		if err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if m.BindPort == 0 {
		m.BindPort = inner.GetAutoBindPort()
		m.AdvertisePort = m.BindPort
	}
	t := &boundedTransport{
		NetTransport: inner, streams: make(chan net.Conn),
		places: make(chan struct{}, maxGossipStreams), done: make(chan struct{}),
	}
	t.stop = sync.OnceFunc(func() { close(t.done) })
	t.wg.Go(t.admit)
	return t, nil
}

// admit hands on streams while there are places, and closes the others.
func (t *boundedTransport) admit() {
	for {
		select {
		case c := <-t.NetTransport.StreamCh():
			select {
			case t.places <- struct{}{}:
			default:
				_ = c.Close() // a stranger's; a member comes again
				continue
			}
			bounded := &boundedConn{
				Conn: c, left: maxGossipBytes, release: sync.OnceFunc(func() { <-t.places }),
			}
			select {
			case t.streams <- bounded:
			case <-t.done:
				_ = bounded.Close() // nobody reads it any more
			}
		case <-t.done:
			return
		}
	}
}

// StreamCh implements memberlist.Transport.
func (t *boundedTransport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout implements memberlist.Transport.
func (t *boundedTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *boundedTransport) DialAddressTimeout(
	a memberlist.Address, timeout time.Duration,
) (net.Conn, error) {
	c, err := t.NetTransport.DialAddressTimeout(a, timeout)
	if err != nil {
		return nil, err
	}
	return &boundedConn{Conn: c, left: maxGossipBytes, release: func() {}}, nil
}

// Shutdown implements memberlist.Transport.
func (t *boundedTransport) Shutdown() error {
	err := t.NetTransport.Shutdown() // its listeners wait for admit to take what they have
	t.stop()
	t.wg.Wait()
	return err
}

// boundedConn is a stream of which no more than left bytes are read. One goroutine reads it.
type boundedConn struct {
	net.Conn
	left    int
	release func()
}

// Read implements net.Conn.
func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left == 0 && len(p) > 0 {
		return 0, fmt.Errorf("gossip from %v takes more than %d bytes", c.RemoteAddr(), maxGossipBytes)
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
