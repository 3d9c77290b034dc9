package worker

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

const (
	// maxConnections is how many connections a worker keeps open: a coordinator has one,
	// and strangers that say nothing are hung up on.
	maxConnections = 256
	// maxStreams is how many streams are open on all of them. Each may hold a message of
	// the largest size, so this bounds memory: more coordinators than that share no
	// worker.
	maxStreams = 64
)

// admit lets a stream in, before anything is read from it, unless too many are open.
func (s *Server) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		s.log.Debug("stream refused", "method", info.FullMethodName, "limit", maxStreams)
		return nil, status.Errorf(codes.ResourceExhausted,
			"worker %s has %d streams open, which is its limit", s.id.ID, maxStreams)
	}
	context.AfterFunc(ctx, func() { s.streams.Add(-1) }) // gRPC ends it with the stream
	return ctx, nil
}
