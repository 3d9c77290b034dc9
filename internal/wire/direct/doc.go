// Package direct carries gRPC between a coordinator and a worker without gRPC's goroutines:
// whoever sends a message writes its HTTP/2 frames, and whoever receives one reads them. A hop
// costs little more than its bytes on a bare socket, and either end may be stock gRPC: on the wire
// nothing differs.
//
// A Client is one connection with one stream of messages, and unary calls before it. A Server
// shares a listener with a stock server: it looks at what a connection asks for first, keeps those
// of a lane, and hands on the others with all that was read from them.
//
// It owns frames, headers, flow control, keepalive and the bounds of what a peer may make it hold.
// It must not know what the messages mean.
//
// Invariants:
//   - A connection is read by one goroutine at a time, and nobody who reads waits for the peer to
//     read: what must be said meanwhile is written by a goroutine of its own.
//   - Who is out of flow-control window reads, or knows that somebody does.
//   - No memory is taken for what was only announced, and what is read ahead is bounded by the
//     window that was granted.
//   - Every goroutine ends before Close, or Stop, returns.
//
// For example:
//
//	client, err := direct.Dial(ctx, conn, direct.Options{MaxMessage: 64 << 20})
//	...
//	stream, err := conclavev1.NewExpertServiceClient(client).Dispatch(ctx)
package direct
