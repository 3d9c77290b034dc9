package membership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// errGone ends one hold of a key: the lease or the key has vanished and is claimed again.
var errGone = errors.New("lease or key has vanished")

// errRaced says that a key changed between reading and writing it; the attempt is repeated.
var errRaced = errors.New("key changed meanwhile")

// claiming says what a claim does about another incarnation that holds the key.
type claiming int

const (
	takeOver claiming = iota // replace it: we are the newer run of the same process
	giveWay                  // let it be: it came after us
)

// hold is a key that was claimed: the lease it hangs on and the revision we last wrote.
type hold struct {
	lease    *lease
	revision int64
}

// keep is the registration's only goroutine and the only writer of its key after register. It
// ends with ctx or when the id was taken over, and for nothing else that etcd may say.
func (r *Registration[T]) keep(ctx context.Context, h hold) {
	defer close(r.done)
	for {
		err := r.guard(ctx, &h)
		h.lease.release()
		if !errors.Is(err, ErrTaken) && ctx.Err() == nil {
			r.c.log.Warn("registration lost, registering again",
				"registration", r.name, "err", err)
			h, err = r.reclaim(ctx)
		}
		if err != nil {
			r.end(err)
			return
		}
	}
}

// reclaim claims the key until that succeeds, ctx ends, or somebody else has it.
func (r *Registration[T]) reclaim(ctx context.Context) (hold, error) {
	for {
		h, err := r.claim(ctx, giveWay)
		if err == nil {
			r.c.log.Info("registered again", "registration", r.name)
			return h, nil
		}
		if errors.Is(err, ErrTaken) || !wait(ctx, retryLast) {
			return hold{}, err
		}
		r.c.log.Warn("cannot register again yet", "registration", r.name, "err", err)
	}
}

// end records why the keeper ended.
func (r *Registration[T]) end(err error) {
	taken := errors.Is(err, ErrTaken)
	if !taken {
		err = ErrClosed
	}
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
	if taken {
		r.c.log.Error("registration ended", "registration", r.name, "err", err)
		close(r.lost)
	}
}

// guard holds the key until it is lost or ctx ends, and writes the value when it changed.
func (r *Registration[T]) guard(ctx context.Context, h *hold) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := r.c.etcd.Watch(ctx, r.key, clientv3.WithRev(h.revision+1))
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.lease.ctx.Done():
			return errGone
		case <-r.dirty:
			err := r.write(ctx, h)
			if permanent(err) && !errors.Is(err, errGone) {
				// Refused, say for want of space: what is registered stays true enough to
				// keep, and the value is tried again.
				r.c.log.Warn("update refused", "registration", r.name, "err", err)
				defer time.AfterFunc(retryLast, r.wake).Stop()
			} else if err != nil {
				return err
			}
		case resp, open := <-changes:
			if !open || resp.Err() != nil {
				return errGone // compacted or refused: claiming again finds out what is true
			}
			for _, event := range resp.Events {
				if err := r.examine(event); err != nil {
					return err
				}
			}
		}
	}
}

// examine judges a change of our key that was seen in the watch.
func (r *Registration[T]) examine(event *clientv3.Event) error {
	if event.Type == mvccpb.Event_DELETE {
		return errGone
	}
	if other := owner(event.Kv.Value); other.Incarnation != r.who.Incarnation {
		return fmt.Errorf("%w: %s", ErrTaken, other.Incarnation)
	}
	return nil
}

// write puts the current value into etcd if the key is still ours.
func (r *Registration[T]) write(ctx context.Context, h *hold) error {
	// The lease's end must end the attempts too: only guard's caller can get another lease.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.lease.ctx, cancel)()

	data, version := r.snapshot()
	var verdict error
	err := r.c.retry(ctx, func(ctx context.Context) error {
		resp, err := r.c.etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(r.key), "=", h.revision)).
			Then(clientv3.OpPut(r.key, string(data), clientv3.WithLease(h.lease.id))).
			Else(clientv3.OpGet(r.key)).
			Commit()
		if err != nil {
			return err
		}
		if resp.Succeeded {
			h.revision = resp.Header.Revision
			return nil
		}
		kvs := resp.Responses[0].GetResponseRange().Kvs
		switch {
		case len(kvs) == 0:
			verdict = errGone
		case owner(kvs[0].Value).Incarnation != r.who.Incarnation:
			verdict = fmt.Errorf("%w: %s", ErrTaken, owner(kvs[0].Value).Incarnation)
		default: // an attempt that looked failed had been taken
			h.revision = kvs[0].ModRevision
			return errRaced
		}
		return nil
	})
	switch {
	case verdict != nil:
		return verdict
	case leaseMissing(err), h.lease.ctx.Err() != nil:
		return errGone
	case err != nil:
		return err
	}
	r.advance(version, h.lease)
	return nil
}

// claim obtains a lease and puts the value under it.
func (r *Registration[T]) claim(ctx context.Context, how claiming) (hold, error) {
	l, err := r.c.grant(ctx)
	if err != nil {
		return hold{}, err
	}
	h := hold{lease: l}
	data, version := r.snapshot()
	var verdict error
	err = r.c.retry(ctx, func(ctx context.Context) error {
		found, err := r.c.etcd.Get(ctx, r.key)
		if err != nil {
			return err
		}
		var before int64 // 0: the key does not exist
		if len(found.Kvs) > 0 {
			before = found.Kvs[0].ModRevision
			other := owner(found.Kvs[0].Value)
			if other.Incarnation != r.who.Incarnation {
				if how == giveWay {
					verdict = fmt.Errorf("%w: %s", ErrTaken, other.Incarnation)
					return nil
				}
				r.c.log.Info("taking over the id of an earlier incarnation",
					"registration", r.name, "earlier", other.Incarnation)
			}
		}
		resp, err := r.c.etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(r.key), "=", before)).
			Then(clientv3.OpPut(r.key, string(data), clientv3.WithLease(l.id))).
			Commit()
		if err != nil {
			return err
		}
		if !resp.Succeeded {
			return errRaced
		}
		h.revision = resp.Header.Revision
		return nil
	})
	if leaseMissing(err) {
		// etcd was away for longer than the fresh lease lived: start over.
		l.release()
		return r.claim(ctx, how)
	}
	if err = errors.Join(verdict, err); err != nil {
		l.release()
		return hold{}, err
	}
	r.advance(version, l)
	return h, nil
}

// snapshot returns the value to write and its version.
func (r *Registration[T]) snapshot() (data []byte, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.data, r.version
}

// advance records that etcd has version of the value, under l.
func (r *Registration[T]) advance(version uint64, l *lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written, r.lease = version, l
	close(r.advanced)
	r.advanced = make(chan struct{})
}

// owner reads who wrote a record; what cannot be read belongs to nobody.
func owner(data []byte) identity {
	var who struct{ ID, Incarnation string }
	if json.Unmarshal(data, &who) != nil {
		return identity{}
	}
	return identity(who)
}

// leaseMissing says whether etcd answered that the lease has expired or never was.
func leaseMissing(err error) bool { return errors.Is(err, rpctypes.ErrLeaseNotFound) }
