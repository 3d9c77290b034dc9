// Package bench measures what this machine can do and what Conclave makes of it: its kernels
// against the machine's own read bandwidth and arithmetic peak, whole steps of a model through a
// real worker, and the hop between the two ends of a lane against a bare socket.
//
// It owns how things are timed and what is reported of them. It must not change what it measures:
// nothing here is used while serving. It builds a coordinator's forward pass and workers in one
// process, which is why it is above a leaf, as synth is.
//
// Invariants:
//
//   - Cases take turns, and the ceilings are cases too: what disturbs the machine disturbs all of
//     them alike. The best run counts, and how far the median was from it is told.
//   - Weights come from memory that is larger than caches, and is allocated once, within the bound
//     that the caller gives.
//   - The parts of a step's time are cut from one clock, so that they add up to the whole.
//
// Example:
//
//	report, err := bench.Kernels(ctx, bench.KernelsConfig{Shape: bench.DefaultShape()})
//	err = report.WriteTable(os.Stdout)
package bench
