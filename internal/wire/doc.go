// Package wire carries activations between coordinator and worker: the two hot
// messages of proto/conclave/v1 as plain structs, the gRPC codec that moves
// their payload without copies, the buffers that it is moved in, and the
// transport settings that both ends must agree on.
//
// The bytes on the wire are ordinary protobuf: a peer that uses the generated
// types understands them, and the tests hold the codec to that.
//
// Invariants:
//   - A payload handed to the transport belongs to it until the transport
//     frees it; only then does the buffer return to its Buffers.
//   - Nothing is allocated for a message larger than the transport's receive
//     limit, and no list may be longer than the bytes that announce it.
//   - Rounding to a Format happens here and nowhere else.
//
// The package knows nothing of experts, layers or models.
package wire
