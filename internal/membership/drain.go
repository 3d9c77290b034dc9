package membership

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What an order asks of a worker.
const (
	OrderLeave = "leave" // hand the experts over, then end: this incarnation only
	OrderKeep  = "keep"  // hand the experts over and stay without any, also after a restart
	OrderServe = "serve" // take experts again
)

// Order is what an operator asked of a worker, through a coordinator. The worker deletes it once
// it has been obeyed, but for OrderKeep, which holds until another order. So the absence of an
// order says nothing: etcd may have lost it.
type Order struct {
	Do string `json:"do"`
	// Incarnation is the run of the worker that OrderLeave is meant for.
	Incarnation string `json:"incarnation,omitempty"`
	// Force lets a worker leave that nobody can take over from.
	Force bool      `json:"force,omitempty"`
	Given time.Time `json:"given"`
	// Revision is etcd's, of this order; set when it is read.
	Revision int64 `json:"-"`
}

// PutOrder gives a worker an order, in place of an earlier one.
func (c *Client) PutOrder(ctx context.Context, worker string, o Order) error {
	if err := checkID(worker); err != nil {
		return fmt.Errorf("give an order to a worker: %w", err)
	}
	if o.Given.IsZero() {
		o.Given = time.Now().UTC()
	}
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("give worker %s an order: %w", worker, err)
	}
	err = c.retry(ctx, func(ctx context.Context) error {
		_, err := c.etcd.Put(ctx, c.keys.order(worker), string(data))
		return err
	})
	if err != nil {
		return fmt.Errorf("give worker %s an order: %w", worker, err)
	}
	return nil
}

// OrderFor returns the order that a worker has, or the zero value.
func (c *Client) OrderFor(ctx context.Context, worker string) (Order, error) {
	var o Order
	err := c.retry(ctx, func(ctx context.Context) error {
		found, err := c.etcd.Get(ctx, c.keys.order(worker))
		if err == nil && len(found.Kvs) > 0 {
			o, _ = decodeOrder(found.Kvs[0]) // what nobody can read is no order
		}
		return err
	})
	if err != nil {
		return Order{}, fmt.Errorf("read the order for worker %s: %w", worker, err)
	}
	return o, nil
}

// DeleteOrder takes an order back, if it is still the one of that revision.
func (c *Client) DeleteOrder(ctx context.Context, worker string, revision int64) error {
	err := c.retry(ctx, func(ctx context.Context) error {
		key := c.keys.order(worker)
		_, err := c.etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
			Then(clientv3.OpDelete(key)).
			Commit()
		return err
	})
	if err != nil {
		return fmt.Errorf("delete the order for worker %s: %w", worker, err)
	}
	return nil
}

// maxOrderBytes bounds an order: it has four short fields.
const maxOrderBytes = 4 << 10

// putOrder takes over a worker's order. One that cannot be read counts as absent.
func (o *observer) putOrder(id string, kv *mvccpb.KeyValue) {
	order, err := decodeOrder(kv)
	if _, there := o.state.Orders[id]; err == nil && !there && len(o.state.Orders) >= maxMembers {
		err = fmt.Errorf("there are %d already", maxMembers)
	}
	if err != nil {
		o.complain(string(kv.Key), err)
		delete(o.state.Orders, id)
		return
	}
	o.state.Orders[id] = order
}

// decodeOrder reads an order and holds it to what this version knows.
func decodeOrder(kv *mvccpb.KeyValue) (Order, error) {
	var o Order
	if len(kv.Value) > maxOrderBytes {
		return o, fmt.Errorf("order of %d bytes, allowed are %d", len(kv.Value), maxOrderBytes)
	}
	if err := json.Unmarshal(kv.Value, &o); err != nil {
		return Order{}, err
	}
	switch o.Do {
	case OrderLeave, OrderKeep, OrderServe:
		o.Revision = kv.ModRevision
		return o, nil
	}
	return Order{}, fmt.Errorf("order %.20q is unknown", o.Do)
}
