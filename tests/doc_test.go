// Package tests holds the tests that need more than one component: exactness
// against the reference implementation through real workers, the determinism
// contract, and whole clusters of real processes.
package tests
