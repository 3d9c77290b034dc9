// Package forward is the model's forward pass on the coordinator: embedding,
// attention over the paged cache, norms, the gate, dense MLPs and the head, as
// a loop over the layers of a model.Spec. Routed experts are run by whoever
// implements Experts.
//
// forward.go reads top to bottom like the paper; attention.go holds
// grouped-query attention, latent.go multi-head latent attention in its two
// forms, absorbed.go and expanded.go; all of them go over the cache by sweep.go.
// weights.go is what is read from the checkpoint.
//
// Invariants:
//   - A row's results depend on its own sequence alone, and on the length of
//     its prompt (Expands): not on the rows beside it, nor on how its prompt
//     was cut into chunks.
//   - The numbers of attention depend on absolute positions: a query's softmax
//     is a running one over the pages of a segment (segmentPages), from the
//     first that it sees, and the segments are merged in ascending order. That
//     holds for a prompt and for a token alike, however the work is divided.
//   - Running a step again gives the same bits, so that a step that failed
//     half-way can be repeated.
//   - Memory for a step is sized once, for the largest batch.
//
// The package knows nothing of requests, scheduling, sampling or networks.
package forward
