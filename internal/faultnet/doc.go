// Package faultnet puts a bad network between the processes of a test: a Relay
// of TCP connections, which anybody may start, a Switch between Hosts, which are
// network namespaces of Linux and need root, and peers that send garbage (Pelt).
//
// Invariants:
//   - A relay delivers bytes in order and whole, or holds them: it never changes
//     a stream. A switch may lose frames, as networks do.
//   - The goroutines, connections and namespaces of each end with its Close, and
//     namespaces with the process, however that ends: they have no names.
//   - What is under way is bounded: a fast sender feels a slow relay, and a full
//     switch drops frames.
//
// The package knows nothing of what it carries.
//
// Example:
//
//	r, err := faultnet.Listen(workerAddr, time.Millisecond)
//	if err != nil {
//		return err
//	}
//	defer r.Close()
//	dial(r.Addr())
package faultnet
