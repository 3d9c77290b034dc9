package membership

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// lease is a lease of etcd's that is being renewed.
type lease struct {
	id clientv3.LeaseID
	// ctx ends when the lease was lost, and before etcd can have dropped it because renewals
	// do not get through. It also ends with the client and with release.
	ctx     context.Context
	release context.CancelFunc // stops renewing; etcd drops the lease after its TTL
	gone    chan struct{}      // closed when the renewing goroutine has ended
}

// grant obtains a lease and starts to renew it.
func (c *Client) grant(ctx context.Context) (*lease, error) {
	var resp *clientv3.LeaseGrantResponse
	err := c.retry(ctx, func(ctx context.Context) (err error) {
		// An attempt whose answer was lost leaves a lease that expires by itself.
		resp, err = c.etcd.Grant(ctx, int64(c.cfg.LeaseTTL/time.Second))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("grant lease: %w", err)
	}
	l := &lease{id: resp.ID, gone: make(chan struct{})}
	l.ctx, l.release = context.WithCancel(c.ctx)
	renewals, err := c.etcd.KeepAlive(l.ctx, resp.ID)
	if err != nil {
		l.release()
		return nil, fmt.Errorf("keep lease alive: %w", err)
	}
	ttl := time.Duration(resp.TTL) * time.Second
	started := c.start(func() {
		defer close(l.gone)
		defer l.release()
		watchRenewals(renewals, ttl)
	})
	if !started {
		l.release()
		return nil, ErrClosed
	}
	return l, nil
}

// watchRenewals returns when renewals ends, or when the last renewal was so long ago that etcd
// may drop the lease soon. They come every third of the TTL: after four fifths, one may have
// been late and at least one was lost, and the holder still stops before etcd does.
func watchRenewals(renewals <-chan *clientv3.LeaseKeepAliveResponse, ttl time.Duration) {
	limit := ttl * 4 / 5
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case _, open := <-renewals:
			if !open {
				return
			}
			timer.Reset(limit)
		case <-timer.C:
			return
		}
	}
}

// revoke drops the lease and the keys under it at once.
func (c *Client) revoke(ctx context.Context, l *lease) error {
	l.release()
	<-l.gone
	ctx, cancel := context.WithTimeout(ctx, c.cfg.LeaseTTL) // by then it has expired anyway
	defer cancel()
	if _, err := c.etcd.Revoke(ctx, l.id); err != nil && !leaseMissing(err) {
		return fmt.Errorf("revoke lease: %w", err)
	}
	return nil
}
