package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/conclave-serve/conclave/internal/wire"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

// Dispatch implements conclavev1.ExpertServiceServer: one lane.
func (s *Server) Dispatch(stream conclavev1.ExpertService_DispatchServer) error {
	// Headers now, so that the coordinator sees the lane open before it has
	// anything to send.
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	s.lanes.Add(1)
	defer s.lanes.Add(-1)
	l := lane{server: s, buffers: new(wire.Buffers)}
	l.from = addrOf(stream.Context())
	l.resp.Buffers = l.buffers
	for {
		if err := stream.RecvMsg(&l.req); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			s.log.Debug("lane ended", "err", err)
			return err
		}
		l.resp.Reset()
		l.resp.ID = l.req.ID
		l.resp.Received = s.now()
		l.serve(stream.Context())
		l.resp.Finished = s.now()
		if err := stream.SendMsg(&l.resp); err != nil {
			return err
		}
		l.rest()
	}
}

// rest ends a request: its bytes count no more, and much memory is not kept.
func (l *lane) rest() {
	l.server.budget.Release(l.from)
	if cap(l.req.Activations.Bytes()) > keptBytes {
		l.req = wire.Request{}
	}
	if l.large {
		l.buffers, l.large = new(wire.Buffers), false
		l.resp.Buffers = l.buffers
	}
}

// lane is the state of one stream; its memory is reused from request to
// request.
type lane struct {
	server  *Server
	req     wire.Request
	resp    wire.Response
	buffers *wire.Buffers
	from    net.Addr // the coordinator's connection
	large   bool     // a reply took more than keptBytes
}

// serve fills resp for req, whose sender is gone when ctx ends.
func (l *lane) serve(ctx context.Context) {
	s := l.server
	if err := l.check(); err != nil {
		l.refuse(wire.StatusInvalid, err.Error())
		return
	}
	s.queued.Add(1)
	s.compute.Lock()
	defer s.compute.Unlock()
	s.queued.Add(-1)
	l.resp.Started = s.now()
	if ctx.Err() != nil {
		l.refuse(wire.StatusExpired, "the lane is cut")
		return
	}
	waited := time.Duration(l.resp.Started - l.resp.Received)
	if l.req.Timeout > 0 && waited > l.req.Timeout {
		l.refuse(wire.StatusExpired,
			fmt.Sprintf("waited %v for its turn", waited.Round(time.Millisecond)))
		return
	}
	if missing := s.work.gather(s.store, &l.req); missing >= 0 {
		l.refuse(wire.StatusExpertNotHeld,
			fmt.Sprintf("expert %d of layer %d is not held here", missing, l.req.Layer))
		return
	}
	l.resp.Status, l.resp.Format = wire.StatusOK, l.req.Format
	rows, hidden := len(l.req.Rows), s.spec.Hidden
	size := rows * hidden * l.req.Format.Size()
	s.budget.Hold(l.from, size)
	if l.req.Sum {
		l.resp.Summed, l.resp.Format = true, wire.F32
		size = summed(&l.req, hidden)
		s.budget.Hold(l.from, size)
	}
	l.large = l.large || size > keptBytes
	out := l.resp.Outputs.Reserve(l.buffers, size)
	s.work.run(s.pool, s.spec, &l.req, out)
	s.calls.Add(1)
	s.rows.Add(int64(rows))
	s.busy.Add(int64(s.now() - l.resp.Started))
}

func (l *lane) refuse(status wire.Status, message string) {
	l.resp.Status, l.resp.Message = status, message
	if l.resp.Started == 0 {
		l.resp.Started = l.resp.Received
	}
}

// headBytes is more than a reply takes besides its outputs.
const headBytes = 1 << 10

// check holds a request to its own counts, the checkpoint and the size limit,
// before anything is computed or allocated for it.
func (l *lane) check() error {
	r, s := &l.req, l.server
	size := r.Format.Size()
	if size == 0 {
		return fmt.Errorf("wire format %d is unknown", r.Format)
	}
	if int(r.Layer) >= len(s.spec.Layers) || s.spec.Layers[r.Layer].MoE == nil {
		return fmt.Errorf("layer %d has no experts", r.Layer)
	}
	want := uint64(r.Tokens) * uint64(s.spec.Hidden) * uint64(size)
	if got := uint64(len(r.Activations.Bytes())); got != want {
		return fmt.Errorf("%d tokens take %d bytes of activations, got %d", r.Tokens, want, got)
	}
	if len(r.Experts) != len(r.RowCounts) || len(r.Rows) != len(r.Weights) {
		return fmt.Errorf("%d experts with %d row counts, %d rows with %d weights",
			len(r.Experts), len(r.RowCounts), len(r.Rows), len(r.Weights))
	}
	experts := len(s.spec.Layers[r.Layer].MoE.Experts)
	var sum uint64
	for i, e := range r.Experts {
		if i > 0 && e <= r.Experts[i-1] {
			return fmt.Errorf("experts are not ascending at index %d", i)
		}
		if uint64(e) >= uint64(experts) {
			return fmt.Errorf("expert %d of %d is out of range", e, experts)
		}
		if r.RowCounts[i] == 0 {
			return fmt.Errorf("expert %d has no rows", e)
		}
		sum += uint64(r.RowCounts[i])
	}
	if sum != uint64(len(r.Rows)) {
		return fmt.Errorf("row counts add up to %d, there are %d rows", sum, len(r.Rows))
	}
	outputs := sum * uint64(s.spec.Hidden) * uint64(size)
	if r.Sum {
		outputs = max(outputs, uint64(summed(r, s.spec.Hidden)))
	}
	if outputs+headBytes > uint64(s.maxMessage) {
		return fmt.Errorf("outputs would take %d bytes, the limit of messages is %d",
			outputs, s.maxMessage)
	}
	for i, row := range r.Rows {
		if row >= r.Tokens {
			return fmt.Errorf("rows[%d] is %d of %d tokens", i, row, r.Tokens)
		}
	}
	return nil
}
