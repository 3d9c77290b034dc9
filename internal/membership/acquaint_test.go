package membership

import (
	"context"
	"net"
	"slices"
	"testing"
)

func TestAdvertisedAddr(t *testing.T) {
	bound := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7070}
	everywhere := &net.TCPAddr{IP: net.IPv4zero, Port: 7070}
	for _, c := range []struct {
		bound     net.Addr
		advertise string
		want      string
	}{
		{bound, "", "127.0.0.1:7070"},
		{bound, "host-a", "host-a:7070"},
		{bound, "host-a:99", "host-a:99"},
		{everywhere, "10.0.0.5", "10.0.0.5:7070"},
		{everywhere, "2001:db8::1", "[2001:db8::1]:7070"},
	} {
		if got, err := AdvertisedAddr(c.bound, c.advertise); err != nil || got != c.want {
			t.Errorf("AdvertisedAddr(%v, %q) = %q, %v; want %q", c.bound, c.advertise, got, err, c.want)
		}
	}
	// Which address it finds depends on the machine; never the unspecified one.
	if got, err := AdvertisedAddr(everywhere, ""); err == nil {
		host, port, err := net.SplitHostPort(got)
		if err != nil || port != "7070" || net.ParseIP(host).IsUnspecified() {
			t.Errorf("AdvertisedAddr of a wildcard is %q", got)
		}
	}
	if _, err := AdvertisedAddr(&net.UnixAddr{Name: "x"}, ""); err == nil {
		t.Error("a unix socket is advertised")
	}
}

// Acquaint finds members that the registry names, whenever it names them.
func TestAcquaint(t *testing.T) {
	a, b := gossip(t, GossipConfig{ID: "a", Role: RoleCoordinator}), gossip(t, GossipConfig{ID: "b", Role: RoleWorker})
	state := State{
		Workers:      map[string]Worker{"b": {ID: "b", Gossip: b.Addr()}},
		Coordinators: map[string]Coordinator{"a": {ID: "a", Gossip: a.Addr()}},
	}
	if got := state.GossipPeers(); len(got) != 2 || !slices.Contains(got, a.Addr()) {
		t.Fatalf("peers %v", got)
	}
	ctx, cancel := context.WithCancel(soon(t))
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Acquaint(ctx, state.GossipPeers)
	}()
	until(t, a.Events(), "b to be met", event(EventAlive, "b"))
	cancel()
	<-done
}
