// Package lastresort computes experts in the coordinator's process, where no
// worker answers for them.
//
// It owns views of the experts it has been asked for, until they are released,
// and scratch memory. It must not know why it is asked, nor round: that is
// dispatch's.
//
// Invariants:
//   - The arithmetic is that of workers, shard.Work, on the same bytes: the bits
//     are the same.
//   - Weights stay in the mapped checkpoint, whose pages are the system's to drop;
//     Release tells it that they are not needed any more. Where workers quantise
//     theirs, these are quantised too, and bounded in number.
//   - Nothing is downloaded: it is for a checkpoint that is whole.
//
// Example:
//
//	e := lastresort.New(spec, checkpoint, quant, pool)
//	y, err := e.Run(ctx, layer, expert, x, rows, weights)
//	e.Release()
package lastresort
