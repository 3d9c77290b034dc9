// Package membership knows who belongs to a Conclave cluster. It is the only package that
// imports etcd or memberlist; everything it hands out is plain Go data.
//
// It has two halves, and neither replaces the other:
//
//   - etcd ([Client]) is the truth about what should be: the registered workers and
//     coordinators (each under a lease), the plan, the elected controller.
//   - memberlist ([Gossip]) is the fast opinion about what is: who answered a probe within the
//     last second, which plan each member has applied, how loaded it is.
//
// An error on the data path is proof and outranks both; that judgement is made elsewhere.
//
// Keys, all under /conclave/v1/<cluster>/:
//
//	workers/<id>        JSON Worker, leased
//	coordinators/<id>   JSON Coordinator, leased
//	orders/<worker>     JSON Order, what an operator asked of a worker
//	plan                owned by package shard, opaque here
//	controller/leader   id of the elected controller, leased
//
// Load reports, which change all the time, are not among them, so that they wake nobody who
// watches: /conclave/loads/v1/<cluster>/<coordinator id>, leased, opaque here.
//
// Invariants:
//
//  1. One key, one owner: a registered key is written only by the incarnation that owns it,
//     always as a compare-and-swap. A newer incarnation takes the key over at once; the older
//     one sees that and reports it through Lost, and never takes the key back.
//  2. A registration outlives etcd: when the lease was lost, the last value is registered
//     again as soon as etcd answers.
//  3. A State is a full snapshot and is never modified after it was sent. While etcd is away
//     the last one is kept and only Connected changes: placement freezes, nothing else does.
//  4. A controller steps down before its lease can expire, never after; and a plan is taken only
//     while the controller's key hangs on the writer's lease, whatever the writer believes.
//  5. No callback of memberlist ever blocks, and a member's metadata fits in 512 bytes.
//
// The package must not know what a plan or an expert is, and decides nothing about placement.
//
// A worker's side of it:
//
//	c, err := membership.Connect(ctx, membership.Config{Endpoints: endpoints, Cluster: "prod"})
//	reg, err := c.RegisterWorker(ctx, membership.Worker{ID: "w1", Addr: addr})
//	for state := range c.Watch(ctx) {
//		apply(state.Plan, state.PlanRevision)
//		err = reg.Update(ctx, func(w *membership.Worker) { w.PlanEpoch = epoch })
//	}
//	err = reg.Close(ctx) // leave at once instead of after the lease
package membership
