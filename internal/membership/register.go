package membership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrTaken says that another incarnation registered the same id. It is final: the process
// that lost its id must not serve under it any longer.
var ErrTaken = errors.New("id was taken over by another incarnation")

// Registration is a key of the registry that this process owns and keeps alive.
type Registration[T record] struct {
	c     *Client
	name  string // "worker w1", for logs and errors
	key   string
	who   identity
	dirty chan struct{} // buffer 1: data is newer than what etcd has
	lost  chan struct{} // closed when the id was taken over

	stop context.CancelFunc // ends the keeper
	done chan struct{}      // closed when the keeper has ended

	mu       sync.Mutex
	value    T
	data     []byte        // value as JSON
	version  uint64        // of value
	written  uint64        // the version that etcd has
	advanced chan struct{} // closed and replaced when written grows
	lease    *lease        // the current one
	err      error         // why the keeper ended
}

// RegisterWorker puts w into the registry and keeps it there until Close. It blocks until etcd
// has taken it or ctx ends. If another incarnation holds the id, it is replaced at once: a
// process restarted under the same id does not wait for the lease of the one before.
func (c *Client) RegisterWorker(ctx context.Context, w Worker) (*Registration[Worker], error) {
	if w.Incarnation == "" {
		w.Incarnation = NewIncarnation()
	}
	if w.Started.IsZero() {
		w.Started = time.Now().UTC()
	}
	return register(ctx, c, "worker", c.keys.worker(w.ID), w)
}

// RegisterCoordinator is RegisterWorker for a coordinator.
func (c *Client) RegisterCoordinator(
	ctx context.Context, k Coordinator,
) (*Registration[Coordinator], error) {
	if k.Incarnation == "" {
		k.Incarnation = NewIncarnation()
	}
	if k.Started.IsZero() {
		k.Started = time.Now().UTC()
	}
	return register(ctx, c, "coordinator", c.keys.coordinator(k.ID), k)
}

func register[T record](
	ctx context.Context, c *Client, kind, key string, value T,
) (*Registration[T], error) {
	who := value.identity()
	if err := checkID(who.ID); err != nil {
		return nil, fmt.Errorf("register %s: %w", kind, err)
	}
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("register %s %s: %w", kind, who.ID, err)
	}
	r := &Registration[T]{
		c: c, name: kind + " " + who.ID, key: key, who: who,
		dirty: make(chan struct{}, 1), lost: make(chan struct{}), done: make(chan struct{}),
		value: value, data: data, version: 1, advanced: make(chan struct{}),
	}
	held, err := r.claim(ctx, takeOver)
	if err != nil {
		return nil, fmt.Errorf("register %s: %w", r.name, err)
	}
	var keeping context.Context
	keeping, r.stop = context.WithCancel(c.ctx)
	if !c.start(func() { r.keep(keeping, held) }) {
		r.stop()
		return nil, fmt.Errorf("register %s: %w", r.name, ErrClosed)
	}
	return r, nil
}

// Value returns the value as last set; what hangs off it must not be modified.
func (r *Registration[T]) Value() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value
}

// Lost is closed when another incarnation has taken the id over. Losing etcd does not close
// it: the registration comes back by itself.
func (r *Registration[T]) Lost() <-chan struct{} { return r.lost }

// Update changes the registered value and waits until etcd has it. When ctx ends first, the
// change stays: it is written as soon as etcd takes it. change must neither alter ID and
// Incarnation nor call the registration; slices it replaces must not be modified afterwards.
func (r *Registration[T]) Update(ctx context.Context, change func(*T)) error {
	version, err := r.set(change)
	if err != nil {
		return fmt.Errorf("update %s: %w", r.name, err)
	}
	for {
		r.mu.Lock()
		written, advanced := r.written, r.advanced
		r.mu.Unlock()
		if written >= version {
			return nil
		}
		select {
		case <-advanced:
		case <-r.done:
			return fmt.Errorf("update %s: %w", r.name, r.ended())
		case <-ctx.Done():
			return fmt.Errorf("update %s: not in etcd yet: %w", r.name, ctx.Err())
		}
	}
}

// Post is Update without the wait: the change is written as soon as etcd takes it.
func (r *Registration[T]) Post(change func(*T)) error {
	if _, err := r.set(change); err != nil {
		return fmt.Errorf("update %s: %w", r.name, err)
	}
	return nil
}

// wake tells the keeper that there is something to write.
func (r *Registration[T]) wake() {
	select {
	case r.dirty <- struct{}{}:
	default: // it has been told and has not looked yet
	}
}

// set applies change to the value, tells the keeper, and returns the new version.
func (r *Registration[T]) set(change func(*T)) (version uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.value
	change(&next)
	if next.identity() != r.who {
		return 0, fmt.Errorf("id and incarnation cannot change (from %v to %v)",
			r.who, next.identity())
	}
	data, err := json.Marshal(next)
	if err != nil {
		return 0, err
	}
	r.value, r.data = next, data
	r.version++
	r.wake()
	return r.version, nil
}

// ended says why the keeper ended.
func (r *Registration[T]) ended() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		return ErrClosed
	}
	return r.err
}

// Close leaves the registry at once by revoking the lease. When etcd does not answer before
// ctx ends, the lease runs out by itself and Close says so. It may be called more than once.
func (r *Registration[T]) Close(ctx context.Context) error {
	r.stop()
	<-r.done
	r.mu.Lock()
	held := r.lease
	r.lease = nil
	r.mu.Unlock()
	if held == nil {
		return nil
	}
	if err := r.c.revoke(ctx, held); err != nil {
		return fmt.Errorf("unregister %s: it stays until its lease expires in %v: %w",
			r.name, r.c.cfg.LeaseTTL, err)
	}
	return nil
}
