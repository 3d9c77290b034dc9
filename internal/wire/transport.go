package wire

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	// windowBytes is the flow-control window of a lane: large enough for a
	// step's prefill, so that a sender never waits for window updates in the
	// middle of a message. Measured to matter from about 1 MB.
	windowBytes = 32 << 20

	// A peer that has been silent for pingAfter is asked for a sign of life
	// and given pingTimeout to show one; on Linux the latter also bounds how
	// long written bytes may stay unacknowledged. A connection whose other end
	// has vanished without a word so ends within 20 s even between calls.
	// Sooner would declare dead a machine that is merely swamped: gossip has
	// an opinion within a second, and it only cuts a lane, which may reopen.
	// gRPC lets clients ask no more often than every 10 s.
	pingAfter   = 10 * time.Second
	pingTimeout = 10 * time.Second

	// What follows bounds a peer that is no peer. Conclave sends no metadata of its own;
	// gRPC's is a few hundred bytes, where its default takes 16 MiB.
	maxHeaderBytes = 16 << 10
	// A coordinator has one lane on a connection and describes now and then.
	maxStreams = 16
	// A connection has greetTimeout to speak HTTP/2, and may be without a stream for
	// idleTimeout; a lane is a stream.
	greetTimeout = 10 * time.Second
	idleTimeout  = time.Minute
)

// DialOptions is how a coordinator connects to a worker: the codec, the limit
// of messages in either direction, flow control and keepalive. It matches
// ServerOptions.
func DialOptions(maxMessage int) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDisableRetry(), // dispatch routes again, with a newer table
		grpc.WithNoProxy(),      // workers are neighbours, whatever the environment says
		grpc.WithStaticStreamWindowSize(windowBytes),
		grpc.WithStaticConnWindowSize(windowBytes),
		grpc.WithMaxHeaderListSize(maxHeaderBytes),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(Codec()),
			grpc.MaxCallRecvMsgSize(maxMessage),
			grpc.MaxCallSendMsgSize(maxMessage)),
	}
}

// ServerOptions is how a worker listens to coordinators. Its server's Stop
// waits for the handlers: they compute on memory that is unmapped next.
func ServerOptions(maxMessage int) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.WaitForHandlers(true),
		grpc.StaticStreamWindowSize(windowBytes),
		grpc.StaticConnWindowSize(windowBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(greetTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: idleTimeout, Time: pingAfter, Timeout: pingTimeout,
		}),
		// By default a server hangs up on clients that ask more often than
		// every five minutes.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: pingAfter / 2, PermitWithoutStream: true,
		}),
		grpc.ForceServerCodecV2(Codec()),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
	}
}
