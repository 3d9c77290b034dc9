package membership

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Gossip is encrypted with a key that all processes of the cluster read from the registry, so
// that what a stranger sends fails to authenticate before memberlist reads a length in it.
// The first process draws the key; everybody remembers it, and gives it back to an etcd that
// has lost it.
const gossipKeyBytes = 32

const (
	// gossipKeyEvery is the pause between looks at the key, besides those after outages.
	gossipKeyEvery = 30 * time.Second
	// rekeyAfter is how long a new key is only read with: long enough for everybody to have
	// noticed that etcd has lost the old one.
	rekeyAfter = 2 * (probePause + probeTimeout)
)

// gossipKey returns the cluster's key; where the registry has none, ours becomes it.
func (c *Client) gossipKey(ctx context.Context, ours []byte) ([]byte, error) {
	name := c.keys.gossipKey()
	key := ours
	err := c.retry(ctx, func(ctx context.Context) error {
		resp, err := c.etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(name), "=", 0)).
			Then(clientv3.OpPut(name, hex.EncodeToString(ours))).
			Else(clientv3.OpGet(name)).
			Commit()
		if err == nil && !resp.Succeeded {
			key = nil
			if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
				key, _ = hex.DecodeString(string(kvs[0].Value)) // measured below
			}
		}
		return err
	})
	if err == nil && len(key) != gossipKeyBytes {
		err = fmt.Errorf("%s is not a key of %d bytes in hex: delete it to have a new one drawn",
			name, gossipKeyBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of gossip: %w", err)
	}
	return key, nil
}

// newGossipKey draws a key.
func newGossipKey() []byte {
	key := make([]byte, gossipKeyBytes)
	_, _ = rand.Read(key) // never fails
	return key
}

// keepGossipKey keeps the registry and g at one key until the client closes. Where another
// key has taken the place of ours, g reads both, and later writes with the new one.
func (c *Client) keepGossipKey(g *Gossip, key []byte) {
	for {
		_, turned := c.vitals()
		timer := time.NewTimer(gossipKeyEvery)
		select {
		case <-turned:
		case <-timer.C:
		case <-c.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		if now, _ := c.vitals(); !now.connected {
			continue
		}
		theirs, err := c.gossipKey(c.ctx, key)
		switch {
		case c.ctx.Err() != nil:
			return
		case err != nil:
			c.log.Warn("gossip goes on with its last key", "err", err)
		case !bytes.Equal(key, theirs):
			c.log.Warn("the registry has another key for gossip, changing to it", "wait", rekeyAfter)
			if !g.changeKey(c.ctx, key, theirs, rekeyAfter) {
				return
			}
			key = theirs
		}
	}
}

// changeKey reads with both keys at once, writes with the new one after a while, and forgets
// what is older than old. It reports false when ctx ended first.
func (g *Gossip) changeKey(ctx context.Context, old, next []byte, after time.Duration) bool {
	// Of the right length, and on the ring: none of this fails.
	_ = g.keyring.AddKey(next)
	if !wait(ctx, after) {
		return false
	}
	_ = g.keyring.UseKey(next)
	for _, k := range g.keyring.GetKeys() {
		if !bytes.Equal(k, old) && !bytes.Equal(k, next) {
			_ = g.keyring.RemoveKey(k)
		}
	}
	return true
}
