package membership

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Seat is a process's place in a cluster: its connection to the registry, its own record there,
// and its voice in gossip.
type Seat[T record] struct {
	Client       *Client
	Gossip       *Gossip
	Registration *Registration[T]
}

// TakeSeat connects to the registry, starts to gossip (with the cluster's key from there,
// unless g has one) and calls register, which checks what it must and registers the process
// with the address at which it gossips. If one of them fails, nothing is left behind.
func TakeSeat[T record](
	ctx context.Context, cfg Config, g GossipConfig,
	register func(c *Client, gossip string) (*Registration[T], error),
) (*Seat[T], error) {
	g.Cluster = cfg.Cluster
	if err := g.complete(); err != nil { // not only once etcd has answered
		return nil, fmt.Errorf("join gossip: %w", err)
	}
	client, err := Connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	shared := g.Key == nil
	if shared {
		if g.Key, err = client.gossipKey(ctx, newGossipKey()); err != nil {
			return nil, errors.Join(err, client.Close())
		}
	}
	gossip, err := JoinGossip(g)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	if shared {
		client.start(func() { client.keepGossipKey(gossip, g.Key) })
	}
	registration, err := register(client, gossip.Addr())
	if err != nil {
		return nil, errors.Join(err, gossip.Close(), client.Close())
	}
	return &Seat[T]{client, gossip, registration}, nil
}

// leaveTimeout bounds each of the goodbyes: a registry that does not answer notices by itself.
const leaveTimeout = 2 * time.Second

// Leave unregisters, tells gossip and closes everything. It may be called once.
func (s *Seat[T]) Leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	return errors.Join(s.Registration.Close(ctx), s.Gossip.Leave(leaveTimeout),
		s.Gossip.Close(), s.Client.Close())
}
