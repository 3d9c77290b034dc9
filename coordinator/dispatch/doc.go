// Package dispatch carries out what router decides: it keeps one lane to every
// worker, sends each layer's activations to the workers that hold the chosen
// experts and adds up what comes back.
//
// Invariants:
//   - One message per worker per layer and micro-batch, and one more for each call that fails or
//     is late; one reply per message, in order. What was given up is still
//     answered, and its answer dropped.
//   - Outputs are added in f32 in ascending expert order, whatever order and
//     whichever workers they came from; a worker that has all of them may add
//     for us.
//   - An expert is never skipped: a layer either has all of its outputs or
//     fails. A broken lane, a refusal or lateness only means that the call's
//     experts are asked for elsewhere, by the newest table.
//   - The first answer for a part of an expert's rows counts, and it is added once.
//   - What only a broken or lying worker would answer is believed when nobody else
//     is left to ask.
//   - The table announced as settled is at least as new as any table that a
//     layer in flight was routed by.
//
// The package knows nothing of etcd, plans in the making, or the model beyond
// its hidden size and expert counts.
package dispatch
