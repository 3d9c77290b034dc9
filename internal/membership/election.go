package membership

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Office is the controller's office while one process holds it.
type Office struct {
	c      *Client
	lease  *lease
	resign func()
}

// Lost is closed when this process is no longer the controller: it then stops at once and may
// campaign again. It closes before the lease can expire, so two controllers never overlap as far
// as clocks run at one speed. A process that slept through that cannot write all the same:
// PutPlan is fenced.
func (o *Office) Lost() <-chan struct{} { return o.lease.ctx.Done() }

// Resign gives the office up, waits until etcd knows or the lease has run out, and may be called
// more than once.
func (o *Office) Resign() { o.resign() }

// Campaign waits until this process is the cluster's controller, or ctx ends.
func (c *Client) Campaign(ctx context.Context, id string) (*Office, error) {
	if err := checkID(id); err != nil {
		return nil, fmt.Errorf("campaign: %w", err)
	}
	ctx, cancel := c.until(ctx)
	defer cancel()
	for {
		l, err := c.grant(ctx)
		if err == nil {
			if err = c.seek(ctx, l, id); err == nil {
				resign := sync.OnceFunc(func() {
					if err := c.revoke(context.Background(), l); err != nil {
						c.log.Warn("resign as controller", "err", err)
					}
				})
				return &Office{c, l, resign}, nil
			}
			c.discard(l)
		}
		if ctx.Err() != nil || permanent(err) && !leaseMissing(err) {
			return nil, fmt.Errorf("campaign as %s: %w", id, err)
		}
		c.log.Debug("campaign starts over", "id", id, "err", err)
		wait(ctx, retryFirst)
	}
}

// discard gives up a lease whose campaign failed: it must not win later. If etcd is away, the
// lease runs out by itself.
func (c *Client) discard(l *lease) {
	ctx, cancel := context.WithTimeout(c.ctx, retryLast)
	defer cancel()
	if err := c.revoke(ctx, l); err != nil {
		c.log.Debug("give up campaign", "err", err)
	}
}

// errLeaseEnded interrupts a campaign whose lease was lost.
var errLeaseEnded = errors.New("lease ended during the campaign")

// seek waits until the controller's key hangs on l.
func (c *Client) seek(ctx context.Context, l *lease, id string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.ctx, func() { cancel(errLeaseEnded) })()
	for {
		won, revision, err := c.tryLead(ctx, l, id)
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if won {
			return nil
		}
		if err := c.awaitVacancy(ctx, revision+1); err != nil {
			return err
		}
	}
}

// tryLead takes the controller's key if nobody has it. revision is where it looked.
func (c *Client) tryLead(
	ctx context.Context, l *lease, id string,
) (won bool, revision int64, err error) {
	err = c.retry(ctx, func(ctx context.Context) error {
		key := c.keys.controller()
		resp, err := c.etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, id, clientv3.WithLease(l.id))).
			Else(clientv3.OpGet(key)).
			Commit()
		if err != nil {
			return err
		}
		revision = resp.Header.Revision
		won = resp.Succeeded
		if !won {
			// Ours already, when an attempt that looked failed had been taken.
			kv := resp.Responses[0].GetResponseRange().Kvs[0]
			won = clientv3.LeaseID(kv.Lease) == l.id
		}
		return nil
	})
	return won, revision, err
}

// awaitVacancy returns when the controller's key was deleted at or after revision, or when the
// watch broke or etcd's history changed and the key must be looked at again.
func (c *Client) awaitVacancy(ctx context.Context, revision int64) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := c.etcd.Watch(clientv3.WithRequireLeader(watching), c.keys.controller(),
		clientv3.WithRev(revision))
	before, _ := c.vitals()
	for {
		now, turned := c.vitals()
		if now.era != before.era {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-turned:
		case resp, open := <-changes:
			if !open || resp.Err() != nil {
				wait(ctx, relistPause)
				return context.Cause(ctx)
			}
			for _, event := range resp.Events {
				if event.Type == mvccpb.Event_DELETE {
					return nil
				}
			}
		}
	}
}
