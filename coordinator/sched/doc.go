// Package sched decides how many positions each running sequence advances in
// a step, and in how many parts a step runs. It is pure: demands and
// measurements in, decisions out.
//
// Invariants:
//   - A step's rows and logits stay within their budgets.
//   - Sequences that decode come before prompts, so that a long prompt never
//     stalls running streams for more than one step.
//   - Of what is left, the prompt that came first gets at least half, and the
//     others share the rest evenly: a short prompt begins to answer within a
//     few steps, however long the ones before it are.
//   - Guesses get only what nobody else wants.
//
// The package has no clock, no goroutine and no I/O.
package sched
