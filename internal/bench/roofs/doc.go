// Package roofs draws a report of bench.Kernels as rooflines: operations a second over operations
// a byte, the two ceilings of the machine, and a mark for each kernel that reads from memory.
//
// It is apart from bench because the library that draws is large; how a picture looks and is
// written is internal/loadgen/chart's.
//
// Invariants:
//
//   - Any report can be drawn, also one without a result.
//   - The same report gives the same picture.
//
// Example:
//
//	err := roofs.WriteFile("kernels.svg", report)
package roofs
