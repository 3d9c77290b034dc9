package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// acquaintEvery is the pause between looks at who should be known. A member
// that was cut off and declared dead is met again after the cut heals, because
// the registry still names it.
const acquaintEvery = time.Second

// Acquaint keeps g joined to the members whose gossip addresses peers returns,
// until ctx ends. Peers that are known already cost nothing.
func (g *Gossip) Acquaint(ctx context.Context, peers func() []string) {
	for wait(ctx, acquaintEvery/10) {
		// Unreachable peers are tried again; that they are is the registry's news.
		_, _ = g.Join(peers())
		if !wait(ctx, acquaintEvery) {
			return
		}
	}
}

// GossipPeers lists the gossip addresses of everybody registered.
func (s State) GossipPeers() []string {
	var peers []string
	for _, w := range s.Workers {
		peers = append(peers, w.Gossip)
	}
	for _, k := range s.Coordinators {
		peers = append(peers, k.Gossip)
	}
	slices.Sort(peers)
	return peers
}

// AdvertisedAddr returns the host:port at which others reach a socket that
// listens on bound. advertise is a host, or host:port, that takes precedence;
// without it a socket bound to all addresses is advertised at this machine's
// first global unicast address.
func AdvertisedAddr(bound net.Addr, advertise string) (string, error) {
	tcp, ok := bound.(*net.TCPAddr)
	if !ok {
		return "", fmt.Errorf("advertise %v: not a TCP address", bound)
	}
	port := fmt.Sprint(tcp.Port)
	if advertise != "" {
		if _, _, err := net.SplitHostPort(advertise); err == nil {
			return advertise, nil
		}
		return net.JoinHostPort(advertise, port), nil
	}
	if !tcp.IP.IsUnspecified() {
		return tcp.String(), nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("find an address to advertise: %w; set one with --advertise", err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			return net.JoinHostPort(ip.IP.String(), port), nil
		}
	}
	return "", errors.New("this machine has no address to advertise: set one with --advertise")
}
