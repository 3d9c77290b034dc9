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

// ErrOusted says that the office was lost: another controller may be at work already.
var ErrOusted = errors.New("no longer the controller")

// PutPlan replaces the plan if its revision is still prevRevision (0: there is none yet) and
// returns the new revision; otherwise it returns ErrConflict. etcd compares in the same
// transaction that the controller's key still hangs on this office's lease, which nobody else
// ever has: a controller that was cut off, or woke up late, gets ErrOusted and changes nothing.
//
// It goes on through lost leaders and broken connections until the office or ctx ends: an
// attempt whose outcome is unknown is repeated, and found out by comparison to have been taken
// or not.
func (o *Office) PutPlan(ctx context.Context, data []byte, prevRevision int64) (int64, error) {
	if len(data) == 0 || len(data) > MaxPlanBytes {
		return 0, fmt.Errorf("put plan: %d bytes, allowed are 1 to %d", len(data), MaxPlanBytes)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(o.lease.ctx, func() { cancel(ErrOusted) })()
	w := planWrite{keys: o.c.keys, office: o.lease.id, data: data, prev: prevRevision}
	if err := o.c.retry(ctx, func(ctx context.Context) error {
		return w.attempt(ctx, o.c.etcd)
	}); err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, ErrOusted) {
			err = cause
		}
		return 0, fmt.Errorf("put plan: %w", err)
	}
	if w.verdict != nil {
		return 0, fmt.Errorf("put plan over revision %d: %w", prevRevision, w.verdict)
	}
	return w.revision, nil
}

// planWrite is one plan on its way to etcd.
type planWrite struct {
	keys   keys
	office clientv3.LeaseID
	data   []byte
	prev   int64 // revision that it replaces

	attempts int
	revision int64 // of the plan, once it was taken
	verdict  error // why it was refused
}

// attempt puts the plan, or finds out that an earlier attempt did, or why it cannot be put. The
// error is that of an attempt whose outcome is unknown.
func (w *planWrite) attempt(ctx context.Context, etcd *clientv3.Client) error {
	w.attempts++
	plan, office := w.keys.plan(), w.keys.controller()
	resp, err := etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(plan), "=", w.prev),
			clientv3.Compare(clientv3.LeaseValue(office), "=", w.office)).
		Then(clientv3.OpPut(plan, string(w.data))).
		Else(clientv3.OpGet(plan), clientv3.OpGet(office)).
		Commit()
	if err != nil {
		return err
	}
	if resp.Succeeded {
		w.revision = resp.Header.Revision
		return nil
	}
	plans := resp.Responses[0].GetResponseRange().Kvs
	offices := resp.Responses[1].GetResponseRange().Kvs
	switch {
	case w.attempts > 1 && len(plans) > 0 && bytes.Equal(plans[0].Value, w.data):
		// Our own bytes, after an attempt that looked failed: that attempt had been taken.
		w.revision = plans[0].ModRevision
	case len(offices) == 0 || clientv3.LeaseID(offices[0].Lease) != w.office:
		w.verdict = ErrOusted
	default:
		w.verdict = ErrConflict
	}
	return nil
}
