package dispatch

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/internal/wire/direct"
)

// Transport is what carries a lane. On the wire both are gRPC.
type Transport int

const (
	// TransportDirect writes and reads frames where messages are sent and received.
	TransportDirect Transport = iota
	// TransportGRPC is stock gRPC.
	TransportGRPC
)

// ParseTransport reads the name of a transport as flags spell it.
func ParseTransport(name string) (Transport, error) {
	switch name {
	case "auto":
		return TransportDirect, nil
	case "grpc":
		return TransportGRPC, nil
	}
	return 0, fmt.Errorf("transport %q is unknown: want auto or grpc", name)
}

// String returns the name that ParseTransport reads.
func (t Transport) String() string {
	if t == TransportGRPC {
		return "grpc"
	}
	return "auto"
}

// connection is one to a worker, on either transport.
type connection interface {
	grpc.ClientConnInterface
	io.Closer
}

// connect opens a connection to a worker, which ends with ctx.
func connect(ctx context.Context, cfg *Config, addr string) (connection, error) {
	if cfg.Transport == TransportGRPC {
		options := append(wire.DialOptions(cfg.MaxMessage),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		return grpc.NewClient("passthrough:///"+addr, options...)
	}
	dialCtx, cancel := context.WithTimeout(ctx, cfg.CallTimeout)
	defer cancel()
	network, path := "tcp", addr
	if rest, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, path = "unix", rest
	}
	var d net.Dialer
	conn, err := d.DialContext(dialCtx, network, path)
	if err != nil {
		return nil, err
	}
	return direct.Dial(ctx, conn, direct.Options{MaxMessage: cfg.MaxMessage, Authority: addr})
}
