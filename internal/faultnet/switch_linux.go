package faultnet

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// queued frames on their way from one host to another; those beyond are dropped,
// as by a switch that is full. At 9,000 bytes each they make 9 MiB.
const queued = 1024

// hardwareAddr is an Ethernet address.
type hardwareAddr [6]byte

// Switch joins hosts as one Ethernet. The link of each to each other, one way,
// can be made bad.
type Switch struct {
	hosts   []*Host
	ways    [][]way // from, to
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	known map[hardwareAddr]int // the host that sends under an address
}

// way is one direction between two hosts.
type way struct {
	link atomic.Pointer[Link]
	line chan frame
}

type frame struct {
	bytes []byte
	due   time.Time
}

// NewSwitch joins hosts and owns them: Close ends them too.
func NewSwitch(hosts ...*Host) *Switch {
	s := &Switch{hosts: hosts, known: map[hardwareAddr]int{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for range hosts {
		s.ways = append(s.ways, make([]way, len(hosts)))
	}
	for from := range hosts {
		for to := range hosts {
			w := &s.ways[from][to]
			w.link.Store(&Link{})
			w.line = make(chan frame, queued)
			if from != to {
				s.running.Go(func() { s.deliver(w, hosts[to]) })
			}
		}
		s.running.Go(func() { s.forward(from) })
	}
	return s
}

// Set makes the way from one host to another, by their numbers, like link.
func (s *Switch) Set(from, to int, link Link) { s.ways[from][to].link.Store(&link) }

// Close ends the switch and its hosts.
func (s *Switch) Close() {
	s.stop()
	for _, h := range s.hosts {
		_ = h.cable.SetReadDeadline(time.Now()) // a TAP can be polled
	}
	s.running.Wait()
	for _, h := range s.hosts {
		h.Close()
	}
}

// forward passes on what one host sends.
func (s *Switch) forward(from int) {
	buffer := make([]byte, mtu+64)
	for {
		n, err := s.hosts[from].cable.Read(buffer)
		if err != nil {
			return
		}
		const header = 14 // two addresses and a type
		if n < header {
			continue
		}
		to, source := hardwareAddr(buffer[:6]), hardwareAddr(buffer[6:12])
		s.mu.Lock()
		s.known[source] = from
		target, known := s.known[to]
		s.mu.Unlock()
		for i := range s.hosts {
			if i != from && (i == target || !known) {
				s.send(&s.ways[from][i], s.hosts[i], buffer[:n])
			}
		}
	}
}

// send delivers a frame, now or later, or loses it.
func (s *Switch) send(w *way, to *Host, b []byte) {
	link := w.link.Load()
	switch {
	case link.Down, link.Loss > 0 && rand.Float64() < link.Loss:
	case link.Delay == 0:
		_, _ = to.cable.Write(b) // a host that cannot take a frame has lost it
	default:
		select {
		case w.line <- frame{append([]byte(nil), b...), time.Now().Add(link.Delay)}:
		default:
		}
	}
}

// deliver hands on delayed frames when they are due.
func (s *Switch) deliver(w *way, to *Host) {
	for {
		select {
		case f := <-w.line:
			select {
			case <-time.After(time.Until(f.due)):
			case <-s.ctx.Done():
				return
			}
			if !w.link.Load().Down {
				_, _ = to.cable.Write(f.bytes) // as in send
			}
		case <-s.ctx.Done():
			return
		}
	}
}
