package direct

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/tap"
)

const (
	// greetTimeout is how long a connection may take to say what it is for, before it is left to
	// the stock server; idleTimeout how long it may be without a stream.
	greetTimeout = 10 * time.Second
	idleTimeout  = time.Minute
	// maxStreams is how many streams a connection may have; one of them is a lane.
	maxStreams = 16
)

// ServerOptions are those of a server.
type ServerOptions struct {
	// MaxMessage bounds messages in both directions, in bytes.
	MaxMessage int
	// Admit, if set, is asked before anything of a stream is read, as grpc.InTapHandle is. The
	// context that it returns ends with the stream.
	Admit tap.ServerInHandle
}

// Server answers those connections of a listener that ask for a method of its own first. Services
// are registered as with a stock server, before Split.
type Server struct {
	options ServerOptions
	unary   map[string]unaryMethod
	streams map[string]streamMethod

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	stopped bool
	wg      sync.WaitGroup
}

type unaryMethod struct {
	service any
	desc    *grpc.MethodDesc
}

type streamMethod struct {
	service any
	desc    *grpc.StreamDesc
}

var _ grpc.ServiceRegistrar = (*Server)(nil)

// NewServer returns a server without services.
func NewServer(options ServerOptions) *Server {
	if options.Admit == nil {
		options.Admit = func(ctx context.Context, _ *tap.Info) (context.Context, error) {
			return ctx, nil
		}
	}
	return &Server{
		options: options, unary: map[string]unaryMethod{}, streams: map[string]streamMethod{},
		conns: map[net.Conn]struct{}{},
	}
}

// RegisterService implements grpc.ServiceRegistrar.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, service any) {
	for i := range desc.Methods {
		m := &desc.Methods[i]
		s.unary["/"+desc.ServiceName+"/"+m.MethodName] = unaryMethod{service, m}
	}
	for i := range desc.Streams {
		m := &desc.Streams[i]
		s.streams["/"+desc.ServiceName+"/"+m.StreamName] = streamMethod{service, m}
	}
}

// Stop cuts all connections and waits for their handlers. It may be called twice.
func (s *Server) Stop() {
	s.mu.Lock()
	s.stopped = true
	for c := range s.conns {
		_ = c.Close() // whoever reads it learns it
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// keep notes a connection for Stop, and serves it.
func (s *Server) keep(conn net.Conn, serve func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		_ = conn.Close() // nothing was said on it
		return
	}
	s.conns[conn] = struct{}{}
	s.wg.Go(serve)
}

// forget leaves a connection to somebody else, or to nobody; false: it was cut meanwhile.
func (s *Server) forget(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
	return !s.stopped
}

// serves reports whether a first stream is for this server.
func (s *Server) serves(f *fields) bool {
	if f.method != "POST" || !isGRPC(f.content) {
		return false
	}
	_, lane := s.streams[f.path]
	_, unary := s.unary[f.path]
	return lane || unary && f.agent == UserAgent
}
