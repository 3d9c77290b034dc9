package worker

import (
	"context"
	"net"

	"google.golang.org/grpc/codes"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

const (
	// maxConnections is how many connections a worker keeps open: a coordinator has one,
	// and strangers that say nothing are hung up on.
	maxConnections = 256
	// maxStreams is how many streams are open on all of them: more coordinators than that
	// share no worker.
	maxStreams = 64
	// budgetMessages messages of the largest size are held for all of them together, coming and
	// going. Whoever holds most beyond that is hung up on: a coordinator's are small, and soon
	// gone.
	budgetMessages = 4
	// keptBytes is what a lane keeps of a message's memory for the next one.
	keptBytes = 64 << 20
)

// admit lets a stream in, before anything is read from it, unless too many are open.
func (s *Server) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		s.log.Debug("stream refused", "method", info.FullMethodName, "limit", maxStreams)
		return nil, status.Errorf(codes.ResourceExhausted,
			"worker %s has %d streams open, which is its limit", s.id.ID, maxStreams)
	}
	end := s.budget.Open(addrOf(ctx))
	context.AfterFunc(ctx, func() { // gRPC ends it with the stream
		s.streams.Add(-1)
		end()
	})
	return ctx, nil
}

// addrOf is the address of the connection of a stream; nil if ctx is of none.
func addrOf(ctx context.Context) net.Addr {
	if from, ok := grpcpeer.FromContext(ctx); ok {
		return from.Addr
	}
	return nil
}
