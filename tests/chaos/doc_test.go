// Package chaos lets a cluster of real processes fail, over and over, while
// clients ask: `make chaos`. Each process lives in a network namespace of its own
// where root is available, and elsewhere on loopback behind relays.
//
// The test owns every process, namespace, cgroup and mount that it makes; nothing
// outlives it, however it ends, but empty cgroups, which the next run removes. It
// knows Conclave from outside alone: commands, flags, HTTP, /proc.
//
// What must hold after every fault, as long as it leaves a copy of each expert or
// brings one back within --patience:
//   - no request has failed;
//   - every answer has the tokens and the bits of its log-probabilities that it
//     had undisturbed;
//   - the cluster becomes whole again by itself;
//   - memory, goroutines and file descriptors come back to what they were.
//
// Pauses are reported and never judged: machines that run tests are busy.
//
// Faults are data from a seed (schedule_test.go), and one of a seed and number is
// the same whatever came before:
//
//	go test -v ./tests/chaos -run TestChaos -args -chaos.seed=7 -chaos.faults=200
//	go test -v ./tests/chaos -run TestChaos -args -chaos.seed=7 -chaos.first=41 -chaos.faults=1
package chaos
