// Package host is what the machine grants this process: which processors, of which cores and
// memory nodes, how much of their time, how memory is put on a node, and huge pages.
//
// It owns the reading of /sys and /proc, and the rule when threads are bound to processors. It must
// not know what the threads compute. Off Linux it knows nothing, and nothing is bound.
//
// Invariants:
//
//   - What cannot be read or makes no sense counts as not known: a process starts anyway.
//   - No processor gets two threads of one placement; cores come before their second threads.
//   - By default no thread is bound to one processor unless this process was given processors of
//     its own and fills them: two processes that bind to the same ones would halve each other.
//     Threads are kept on memory nodes, where there are several.
//   - Memory is put on a node before it is touched, and only preferably: a full node refuses none.
//
// Example:
//
//	place, err := host.Place(host.PinAuto, threads)
//	pool := kernels.NewPoolWith(kernels.PoolConfig{
//		Threads: threads, Bind: place.Bind(), Nodes: place.Nodes(),
//	})
package host
