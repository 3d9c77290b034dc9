// Package shard says which experts live where. It owns the Plan (which worker
// should hold which expert, under one epoch), the planner that makes the next
// plan from the last (Next) and from what the load calls for (Demand), the Store,
// the expert weights that a worker holds, and their arithmetic (Work).
// It also turns stored weights of any format into what the kernels read (View,
// Vector), for experts and for the coordinator's half alike.
//
// Invariants:
//   - A Plan is immutable once it is published; epochs only grow.
//   - The planner is a pure function: the same inputs give the same plan, and
//     a copy moves only if its worker left, holds more than its share, or the time
//     that it takes off the slowest workers pays for loading it. First copies of
//     everything come before second ones.
//   - A Store never hands out an expert before all of its weights are mapped,
//     checked and read once.
//   - Quantised weights (Quant) lie outside the Go heap and stay mapped while a matrix refers to
//     them, dropped or not. They depend on the checkpoint alone, and lie on the memory nodes whose
//     threads read them (Nodes).
//   - What a checkpoint from elsewhere has not made present is never read: View
//     and Vector refuse it.
//
// The package knows nothing of networks, membership or requests.
package shard
