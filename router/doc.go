// Package router decides: which experts a token needs (the gate), which worker
// runs each of them (the routing table), and how one layer's choices become
// one message per worker (the route).
//
// Invariants:
//   - It is pure: no I/O, no clock, no goroutine, no randomness. The same
//     inputs give the same decision on every machine.
//   - A Table is immutable; a step uses one table from its first layer on.
//   - Ties at the gate go to the lower expert index, and outputs are combined
//     in ascending expert order, so that a token's sum does not depend on
//     where its experts ran.
package router
