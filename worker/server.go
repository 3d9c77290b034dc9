package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/conclave-serve/conclave/internal/border"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/internal/wire/direct"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
	"github.com/conclave-serve/conclave/shard"
)

// Identity is how a server introduces itself.
type Identity struct {
	ID, Incarnation, Model string
}

// Server answers coordinators from a store of experts.
type Server struct {
	conclavev1.UnimplementedExpertServiceServer
	id         Identity
	spec       *model.Spec
	store      *shard.Store
	pool       *kernels.Pool
	maxMessage int
	started    time.Time
	grpc       *grpc.Server
	direct     *direct.Server // has the lanes
	log        *slog.Logger
	streams    atomic.Int32 // open ones, as admit counts
	budget     *border.Budget

	// compute serialises the lanes: one request at a time has all cores. It
	// guards pool and work.
	compute sync.Mutex
	work    work
	queued  atomic.Int32
	lanes   atomic.Int32
	calls   atomic.Int64
	rows    atomic.Int64
	busy    atomic.Int64 // nanoseconds
}

// NewServer returns a server that is not listening yet. maxMessage bounds
// requests and replies, in bytes.
func NewServer(
	id Identity, spec *model.Spec, store *shard.Store, pool *kernels.Pool, maxMessage int,
) *Server {
	s := &Server{
		id: id, spec: spec, store: store, pool: pool, maxMessage: maxMessage,
		started: time.Now(), log: slog.New(slog.DiscardHandler),
		budget: border.NewBudget(budgetMessages * int64(maxMessage)),
	}
	s.grpc = grpc.NewServer(append(wire.ServerOptions(maxMessage), grpc.InTapHandle(s.admit))...)
	s.direct = direct.NewServer(direct.ServerOptions{MaxMessage: maxMessage, Admit: s.admit})
	conclavev1.RegisterExpertServiceServer(s.grpc, s)
	conclavev1.RegisterExpertServiceServer(s.direct, s)
	return s
}

// Serve answers on lis until Stop.
func (s *Server) Serve(lis net.Listener) error {
	err := s.grpc.Serve(s.direct.Split(border.Listener(s.budget.Listener(lis), maxConnections)))
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve experts on %v: %w", lis.Addr(), err)
	}
	return nil
}

// Stop cuts all lanes and waits for their handlers; after it, nothing reads
// the store or the pool. It may be called before Serve, and twice.
func (s *Server) Stop() {
	s.direct.Stop()
	s.grpc.Stop()
}

// Describe implements conclavev1.ExpertServiceServer.
func (s *Server) Describe(
	context.Context, *conclavev1.DescribeRequest,
) (*conclavev1.DescribeResponse, error) {
	held := s.store.Held()
	r := &conclavev1.DescribeResponse{
		WorkerId: s.id.ID, Incarnation: s.id.Incarnation, Model: s.id.Model,
		Ready: make([]string, len(held)),
	}
	for l, set := range held {
		r.Ready[l] = set.String()
	}
	return r, nil
}

// Load is the work of a server so far.
type Load struct {
	Calls, Rows int64
	// Busy is the time spent computing.
	Busy time.Duration
	// Queued counts requests that wait for their turn, Lanes open streams.
	Queued, Lanes int
}

// Load returns the server's work so far.
func (s *Server) Load() Load {
	return Load{
		Calls: s.calls.Load(), Rows: s.rows.Load(), Busy: time.Duration(s.busy.Load()),
		Queued: int(s.queued.Load()), Lanes: int(s.lanes.Load()),
	}
}

// now is the server's clock: nanoseconds since it was made, never 0.
func (s *Server) now() uint64 { return uint64(time.Since(s.started)) + 1 }
