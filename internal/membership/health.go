package membership

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// health is what the monitor knows about etcd.
type health struct {
	connected bool
	cluster   uint64 // etcd's own cluster id
	revision  int64  // highest seen
	// era counts the histories seen: it grows when etcd came back with another store (a new
	// data directory, a restored backup). A watch that waits for a revision of the old history
	// would wait for ever, so watchers list again when it changes.
	era int64
}

// sighting is etcd's answer to one probe.
type sighting struct {
	cluster  uint64
	revision int64
}

const (
	// probePause is the pause between probes: one small quorum read a second for each process.
	probePause = time.Second
	// probeTimeout: a quorum that takes longer to answer one read is as good as away.
	probeTimeout = 2 * time.Second
	// The same while etcd is away: reconnect soon after it is back.
	awayPause   = 100 * time.Millisecond
	awayTimeout = 500 * time.Millisecond
)

// monitor keeps health current until the client closes.
func (c *Client) monitor() {
	pause, timeout := probePause, probeTimeout
	for wait(c.ctx, pause) {
		if timeout == awayTimeout {
			c.reconnect()
		}
		ctx, cancel := context.WithTimeout(c.ctx, timeout)
		seen, err := c.probe(ctx)
		cancel()
		if c.ctx.Err() != nil {
			return
		}
		if err != nil {
			c.miss(err)
			pause, timeout = awayPause, awayTimeout
			continue
		}
		c.observe(seen)
		pause, timeout = probePause, probeTimeout
	}
}

// probe reads through the quorum, so that an answer means that writes would work too.
func (c *Client) probe(ctx context.Context) (sighting, error) {
	resp, err := c.etcd.Get(ctx, c.keys.plan(), clientv3.WithCountOnly())
	if err != nil {
		return sighting{}, err
	}
	return sighting{resp.Header.ClusterId, resp.Header.Revision}, nil
}

// reconnect skips the connection's back-off, which grows to two minutes: etcd's return must
// not go unnoticed for longer than its absence.
func (c *Client) reconnect() { c.etcd.ActiveConnection().ResetConnectBackoff() }

// observe records an answer of etcd.
func (c *Client) observe(seen sighting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := health{
		connected: true, cluster: seen.cluster, revision: seen.revision, era: c.health.era,
	}
	if seen.cluster != c.health.cluster || seen.revision < c.health.revision {
		next.era++
		if next.era > 1 {
			c.log.Warn("etcd came back with another history, reading everything again",
				"revision", seen.revision, "expected", c.health.revision)
		}
	}
	if !c.health.connected && next.era == c.health.era {
		c.log.Info("etcd is back", "revision", seen.revision)
	}
	c.turn(next)
}

// miss records that etcd did not answer.
func (c *Client) miss(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.health.connected {
		c.log.Warn("etcd does not answer, going on with the last state",
			"endpoints", c.cfg.Endpoints, "err", err)
	}
	next := c.health
	next.connected = false
	c.turn(next)
}

// turn installs h and wakes the watchers when they would see a difference. c.mu is held.
func (c *Client) turn(h health) {
	differs := h.connected != c.health.connected || h.era != c.health.era
	c.health = h
	if differs {
		close(c.turned)
		c.turned = make(chan struct{})
	}
}

// vitals returns the current health and a channel that closes when it changes.
func (c *Client) vitals() (health, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.health, c.turned
}
