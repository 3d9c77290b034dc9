package membership

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// relistPause is the pause before reading everything again after a watch broke.
const relistPause = 100 * time.Millisecond

// Watch delivers the state of the registry: one snapshot as soon as etcd has answered, then one
// after every change. Only the latest snapshot waits in the channel, so a slow reader misses
// steps and never the end. While etcd is away the last state stays, with Connected false. The
// channel is closed when ctx or the client ends.
func (c *Client) Watch(ctx context.Context) <-chan State {
	out := make(chan State, 1)
	ctx, cancel := c.until(ctx)
	o := &observer{c: c, out: out}
	started := c.start(func() {
		defer close(out)
		defer cancel()
		for pause := time.Duration(0); wait(ctx, pause); {
			if pause = retryLast; o.list(ctx) == nil {
				o.follow(ctx)
				pause = relistPause
			}
		}
	})
	if !started {
		cancel()
		close(out)
	}
	return out
}

// observer follows the registry for one Watch. One goroutine owns it.
type observer struct {
	c     *Client
	out   chan State      // buffer 1; this observer is its only sender
	era   int64           // history of etcd that state comes from
	state State           // private: its maps are copied before they are sent
	said  map[string]bool // keys that were complained of
}

// list reads everything, which also drops what was deleted unseen.
func (o *observer) list(ctx context.Context) error {
	vitals, _ := o.c.vitals()
	var resp *clientv3.GetResponse
	err := o.c.retry(ctx, func(ctx context.Context) (err error) {
		// A watch may break before etcd counts as away, and then nobody else says so.
		if now, _ := o.c.vitals(); !now.connected {
			o.report(now)
		}
		resp, err = o.c.etcd.Get(ctx, o.c.keys.root, clientv3.WithPrefix())
		return err
	})
	if err != nil {
		if ctx.Err() == nil {
			o.c.log.Error("cannot read the registry", "root", o.c.keys.root, "err", err)
		}
		return err
	}
	o.era = vitals.era
	o.state = State{
		Revision: resp.Header.Revision, Connected: true,
		Workers: map[string]Worker{}, Coordinators: map[string]Coordinator{},
		Orders: map[string]Order{},
	}
	for _, kv := range resp.Kvs {
		o.put(kv)
	}
	o.publish()
	return nil
}

// follow applies changes until the watch breaks, etcd's history changes, or ctx ends.
func (o *observer) follow(ctx context.Context) {
	var opening sync.WaitGroup
	defer opening.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Opening waits for etcd, which may go at this moment; that must be told all the same.
	opened := make(chan clientv3.WatchChan, 1)
	next := o.state.Revision + 1
	opening.Go(func() {
		// Without a leader a member's view goes stale: the watch breaks rather than stall.
		opened <- o.c.etcd.Watch(clientv3.WithRequireLeader(ctx), o.c.keys.root,
			clientv3.WithPrefix(), clientv3.WithRev(next))
	})
	var changes clientv3.WatchChan
	for {
		vitals, turned := o.c.vitals()
		if vitals.era != o.era {
			return
		}
		o.report(vitals)
		select {
		case <-ctx.Done():
			return
		case <-turned:
		case changes = <-opened:
		case resp, open := <-changes:
			if !open {
				return
			}
			if err := resp.Err(); err != nil {
				o.c.log.Debug("watch broke, reading everything again",
					"err", err, "compacted", resp.CompactRevision)
				return
			}
			o.apply(resp)
		}
	}
}

// report publishes that etcd is away or back, if that is news and anything was published before.
func (o *observer) report(h health) {
	if o.state.Workers != nil && h.connected != o.state.Connected {
		o.state.Connected = h.connected
		o.publish()
	}
}

// apply takes over one batch of changes.
func (o *observer) apply(resp clientv3.WatchResponse) {
	if len(resp.Events) == 0 {
		return
	}
	for _, event := range resp.Events {
		if event.Type == mvccpb.Event_DELETE {
			o.remove(string(event.Kv.Key))
		} else {
			o.put(event.Kv)
		}
	}
	o.state.Revision = resp.Header.Revision
	o.publish()
}

// put takes over one key. A record that cannot be read counts as absent.
func (o *observer) put(kv *mvccpb.KeyValue) {
	key, k := string(kv.Key), o.c.keys
	switch key {
	case k.plan():
		o.state.Plan, o.state.PlanRevision = kv.Value, kv.ModRevision
		if len(kv.Value) > MaxPlanBytes {
			o.state.Plan = nil // to be replaced
		}
	case k.controller():
		o.state.Controller = ""
		if id := string(kv.Value); checkID(id) == nil {
			o.state.Controller = id
		}
	}
	if id, ok := strings.CutPrefix(key, k.worker("")); ok {
		putRecord(o, o.state.Workers, id, kv)
	}
	if id, ok := strings.CutPrefix(key, k.coordinator("")); ok {
		putRecord(o, o.state.Coordinators, id, kv)
	}
	if id, ok := strings.CutPrefix(key, k.order("")); ok {
		o.putOrder(id, kv)
	}
}

// remove forgets one key.
func (o *observer) remove(key string) {
	delete(o.said, key)
	k := o.c.keys
	switch key {
	case k.plan():
		o.state.Plan, o.state.PlanRevision = nil, 0
	case k.controller():
		o.state.Controller = ""
	}
	if id, ok := strings.CutPrefix(key, k.worker("")); ok {
		delete(o.state.Workers, id)
	}
	if id, ok := strings.CutPrefix(key, k.coordinator("")); ok {
		delete(o.state.Coordinators, id)
	}
	if id, ok := strings.CutPrefix(key, k.order("")); ok {
		delete(o.state.Orders, id)
	}
}

// publish leaves a copy of the state for the reader, in place of one not yet read.
func (o *observer) publish() {
	s := o.state
	s.Workers = maps.Clone(s.Workers)
	s.Coordinators = maps.Clone(s.Coordinators)
	s.Orders = maps.Clone(s.Orders)
	select {
	case <-o.out:
	default:
	}
	o.out <- s // never blocks: the buffer is empty and nobody else sends
}
