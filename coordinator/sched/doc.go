// Package sched decides how many positions each running sequence advances in
// a step. It is pure: demands in, shares out.
//
// Invariants:
//   - A step's rows and logits stay within their budgets.
//   - Sequences that decode come before prompts, so that a long prompt never
//     stalls running streams for more than one step.
//   - What is left goes to prompts first come, first served.
package sched
