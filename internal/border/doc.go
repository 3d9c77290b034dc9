// Package border holds the bounds that every listening socket of Conclave shares: how
// many connections strangers may keep open, and how many bytes may be held for them. What
// they may say on one is the business of the protocol behind it (docs/protocol.md,
// "Hostile peers").
//
// It must not know any protocol, and imports the standard library alone.
//
// Invariants:
//   - No more than the given number of connections are open at once; the next one is
//     closed at once, so that its peer learns it and the accept queue stays short.
//   - A budget never holds more than its bytes for longer than it takes to close the
//     connection that holds most.
//   - A connection counts until it is closed, by whichever side and however often.
//
// For example:
//
//	err := server.Serve(border.Listener(listener, 256))
package border
