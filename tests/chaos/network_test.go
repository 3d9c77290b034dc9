//go:build linux

package chaos

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/conclave-serve/conclave/internal/faultnet"
)

// network is where the processes live, each on a host with a number. Host 0 is
// etcd's and the origin's.
type network interface {
	// do runs what starts a process of a host.
	do(host int, f func() error) error
	// dial connects a client of this test to the process of a host.
	dial(host int) func(ctx context.Context, network, addr string) (net.Conn, error)
	listen(host int) (net.Listener, error)
	// listenAddr is where the process of a host listens.
	listenAddr(host int) string
	// reach is the address by which the process of a host is reached from another.
	reach(from, to int) string
	// set makes the way from one host to another like link.
	set(from, to int, link faultnet.Link)
	close()
}

// namespaces are hosts with a network of their own, joined by a switch.
type namespaces struct {
	hosts []*faultnet.Host
	wire  *faultnet.Switch
}

const (
	hostPort    = 7070
	metricsPort = 7071
)

func newNamespaces(hosts int) (*namespaces, error) {
	n := &namespaces{}
	for i := range hosts {
		h, err := faultnet.NewHost(netip.MustParsePrefix(fmt.Sprintf("10.77.0.%d/24", i+1)))
		if err != nil {
			for _, made := range n.hosts {
				made.Close()
			}
			return nil, err
		}
		n.hosts = append(n.hosts, h)
	}
	n.wire = faultnet.NewSwitch(n.hosts...)
	return n, nil
}

func (n *namespaces) do(host int, f func() error) error { return n.hosts[host].Do(f) }

func (n *namespaces) dial(host int) func(context.Context, string, string) (net.Conn, error) {
	return n.hosts[host].Dial
}

func (n *namespaces) listen(host int) (net.Listener, error) {
	return n.hosts[host].Listen(fmt.Sprintf("%s:0", n.hosts[host].Addr()))
}

func (n *namespaces) listenAddr(host int) string {
	return fmt.Sprintf("%s:%d", n.hosts[host].Addr(), hostPort)
}

func (n *namespaces) reach(_, to int) string { return n.listenAddr(to) }

func (n *namespaces) set(from, to int, link faultnet.Link) { n.wire.Set(from, to, link) }

func (n *namespaces) close() { n.wire.Close() }

// relays stand on loopback before each worker, and before etcd once for each
// host. All coordinators reach a worker through the same one, and gossip goes past
// them.
type relays struct {
	fronts  int
	addrs   []string // where processes listen
	worker  []*pair  // by host; nil of other hosts
	etcd    []*pair  // by the host that asks
	dialler net.Dialer
}

// pair is a relay and what its two ways are like.
type pair struct {
	*faultnet.Relay
	toward, back faultnet.Link
}

func newRelays(fronts, workers int) (*relays, error) {
	hosts := 1 + fronts + workers
	r := &relays{fronts: fronts, worker: make([]*pair, hosts), etcd: make([]*pair, hosts)}
	for range hosts {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			r.close()
			return nil, err
		}
		r.addrs = append(r.addrs, l.Addr().String())
		defer l.Close() // all stay open until all are known, so that they differ
	}
	for host := 1; host < hosts; host++ {
		e, err := faultnet.Listen(r.addrs[0], 0)
		if err != nil {
			r.close()
			return nil, err
		}
		r.etcd[host] = &pair{Relay: e}
		if host <= fronts {
			continue
		}
		w, err := faultnet.Listen(r.addrs[host], 0)
		if err != nil {
			r.close()
			return nil, err
		}
		r.worker[host] = &pair{Relay: w}
	}
	return r, nil
}

func (r *relays) do(_ int, f func() error) error { return f() }

func (r *relays) dial(int) func(context.Context, string, string) (net.Conn, error) {
	return r.dialler.DialContext
}

func (r *relays) listen(int) (net.Listener, error) { return net.Listen("tcp4", "127.0.0.1:0") }

func (r *relays) listenAddr(host int) string { return r.addrs[host] }

func (r *relays) reach(from, to int) string {
	switch {
	case from == to:
		return r.addrs[to]
	case to == 0:
		return r.etcd[from].Addr()
	case r.worker[to] != nil:
		return r.worker[to].Addr()
	}
	return r.addrs[to]
}

func (r *relays) set(from, to int, link faultnet.Link) {
	way := func(p *pair, toward bool) {
		if toward {
			p.toward = link
		} else {
			p.back = link
		}
		p.Set(p.toward, p.back)
	}
	switch isFront := func(h int) bool { return h > 0 && h <= r.fronts }; {
	case to == 0:
		way(r.etcd[from], true)
	case from == 0:
		way(r.etcd[to], false)
	case isFront(from) && r.worker[to] != nil:
		way(r.worker[to], true)
	case isFront(to) && r.worker[from] != nil:
		way(r.worker[from], false)
	}
}

func (r *relays) close() {
	for _, list := range [][]*pair{r.worker, r.etcd} {
		for _, p := range list {
			if p != nil {
				p.Close()
			}
		}
	}
}
