package membership

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrConflict says that somebody else wrote the plan first: read the state again and decide
// anew.
var ErrConflict = errors.New("plan changed meanwhile")

// MaxPlanBytes bounds the plan. etcd refuses requests over 1.5 MiB, and every watcher holds a
// copy; a plan of 60 layers with 256 experts in two copies takes about a quarter of this.
const MaxPlanBytes = 1 << 20

// PutPlan replaces the plan if its revision is still prevRevision (0: there is none yet) and
// returns the new revision; otherwise it returns ErrConflict. It goes on through lost leaders
// and broken connections until ctx ends: an attempt whose outcome is unknown is repeated, and
// found out by comparison to have been taken or not.
func (c *Client) PutPlan(ctx context.Context, data []byte, prevRevision int64) (int64, error) {
	if len(data) == 0 || len(data) > MaxPlanBytes {
		return 0, fmt.Errorf("put plan: %d bytes, allowed are 1 to %d", len(data), MaxPlanBytes)
	}
	revision, attempts := int64(0), 0
	err := c.retry(ctx, func(ctx context.Context) error {
		attempts++
		key := c.keys.plan()
		resp, err := c.etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", prevRevision)).
			Then(clientv3.OpPut(key, string(data))).
			Else(clientv3.OpGet(key)).
			Commit()
		if err != nil {
			return err
		}
		if resp.Succeeded {
			revision = resp.Header.Revision
			return nil
		}
		// Our own bytes, after an attempt that looked failed: that attempt had been taken.
		kvs := resp.Responses[0].GetResponseRange().Kvs
		if attempts > 1 && len(kvs) > 0 && bytes.Equal(kvs[0].Value, data) {
			revision = kvs[0].ModRevision
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("put plan: %w", err)
	}
	if revision == 0 {
		return 0, fmt.Errorf("put plan over revision %d: %w", prevRevision, ErrConflict)
	}
	return revision, nil
}
