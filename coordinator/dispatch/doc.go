// Package dispatch carries out what router decides: it keeps one lane to every
// worker, sends each layer's activations to the workers that hold the chosen
// experts and adds up what comes back.
//
// Invariants:
//   - One message per worker per layer and micro-batch; one reply per message.
//   - Outputs are added in f32 in ascending expert order, whatever order and
//     whichever workers they came from.
//   - An expert is never skipped: a layer either has all of its outputs or
//     fails. A broken lane, a refusal or a timeout only means that the layer
//     is routed again by the newest table.
//   - The table announced as settled is at least as new as any table that a
//     layer in flight was routed by.
//
// The package knows nothing of etcd, plans in the making, or the model beyond
// its hidden size and expert counts.
package dispatch
