// Package chart draws a report of loadgen: how the times to the first token and between tokens are
// distributed, and how tokens per second and running requests went over the run.
//
// It owns the look of pictures, also for others that draw measurements, and knows nothing of how
// the figures came about. It is apart from loadgen because the library that draws is large.
//
// Invariants:
//
//   - Any report can be drawn, also one without a finished request.
//   - The same report gives the same picture.
//
// Example:
//
//	err := chart.WriteFile("run.svg", report)
package chart
