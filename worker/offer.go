package worker

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-serve/conclave/internal/safetensors"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

const (
	// maxFetchBytes bounds a range, maxRanges those of one request: what a stranger may make this
	// worker read at once.
	maxFetchBytes = 16 << 20
	maxRanges     = 64
	// pieceBytes is what goes out in one message: little, so that a request for tokens comes between.
	pieceBytes = 256 << 10
	// maxServed is how many peers are served at once, maxWaiting how many more may wait. Their streams
	// count among the server's, of which coordinators need theirs (maxStreams).
	maxServed, maxWaiting = 4, 16
	// courtesy is how long a piece waits while a coordinator is being served. Under full load 50 MB/s
	// are left for peers.
	courtesy = 5 * time.Millisecond
	// maxSuspects bounds the ranges that wait to be looked at again.
	maxSuspects = 64
)

// castagnoli returns the CRC-32C of bytes, which most machines compute in hardware.
func castagnoli(data []byte) uint32 {
	return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
}

// suspect is a range of which another worker holds other bytes.
type suspect struct {
	safetensors.Range
	theirs uint32 // their checksum
}

// offer serves what this worker has of the weight files to other workers.
type offer struct {
	conclavev1.UnimplementedWeightServiceServer
	model string
	ck    *safetensors.Checkpoint
	// busy tells that a coordinator is being served.
	busy     func() bool
	slots    chan struct{}
	waiting  atomic.Int32
	suspects chan suspect
	served   atomic.Int64 // bytes
}

func newOffer(model string, ck *safetensors.Checkpoint, busy func() bool) *offer {
	return &offer{
		model: model, ck: ck, busy: busy,
		slots: make(chan struct{}, maxServed), suspects: make(chan suspect, maxSuspects),
	}
}

// offerWeights makes the server serve the weights of its checkpoint. It is called before Serve.
func (s *Server) offerWeights(ck *safetensors.Checkpoint) *offer {
	o := newOffer(s.id.Model, ck, func() bool {
		if !s.compute.TryLock() {
			return true
		}
		s.compute.Unlock()
		return false
	})
	conclavev1.RegisterWeightServiceServer(s.grpc, o)
	return o
}

// Fetch implements conclavev1.WeightServiceServer.
func (o *offer) Fetch(
	req *conclavev1.FetchRequest, stream conclavev1.WeightService_FetchServer,
) error {
	data, err := o.read(req.GetModel(), req.GetRange())
	if err != nil {
		return err
	}
	leave, err := o.enter(stream.Context())
	if err != nil {
		return err
	}
	defer leave()
	for len(data) > 0 {
		piece := data[:min(pieceBytes, len(data))]
		data = data[len(piece):]
		if err := o.wait(stream.Context()); err != nil {
			return err
		}
		err := stream.Send(&conclavev1.FetchResponse{Piece: piece, Crc32C: castagnoli(piece)})
		if err != nil {
			return err
		}
		o.served.Add(int64(len(piece)))
	}
	return nil
}

// Checksum implements conclavev1.WeightServiceServer.
func (o *offer) Checksum(
	ctx context.Context, req *conclavev1.ChecksumRequest,
) (*conclavev1.ChecksumResponse, error) {
	ranges, theirs := req.GetRanges(), req.GetCrc32C()
	if len(ranges) > maxRanges || len(theirs) > 0 && len(theirs) != len(ranges) {
		return nil, status.Errorf(codes.InvalidArgument,
			"%d ranges with %d checksums: want at most %d, with one each or none",
			len(ranges), len(theirs), maxRanges)
	}
	leave, err := o.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	out := &conclavev1.ChecksumResponse{}
	for i, r := range ranges {
		data, err := o.read(req.GetModel(), r)
		present := err == nil
		if err != nil && status.Code(err) != codes.NotFound {
			return nil, err
		}
		if err := o.wait(ctx); err != nil {
			return nil, err
		}
		sum := castagnoli(data) // 0 of nothing
		out.Crc32C, out.Present = append(out.Crc32C, sum), append(out.Present, present)
		if present && len(theirs) > 0 && theirs[i] != sum {
			o.suspect(suspect{fileRange(r), theirs[i]})
		}
	}
	return out, nil
}

// suspect notes a range to be looked at again; when too many wait, not.
func (o *offer) suspect(s suspect) {
	select {
	case o.suspects <- s:
	default:
	}
}

func fileRange(r *conclavev1.FileRange) safetensors.Range {
	return safetensors.Range{
		File: r.GetFile(), Begin: int64(r.GetBegin()), End: int64(r.GetEnd()),
	}
}

// read returns the bytes of a range that a peer asks for.
func (o *offer) read(model string, r *conclavev1.FileRange) ([]byte, error) {
	if model != o.model {
		return nil, status.Errorf(codes.FailedPrecondition, "this worker serves checkpoint %.12s, "+
			"not %.12q", o.model, model)
	}
	begin, end := r.GetBegin(), r.GetEnd()
	if begin >= end || end-begin > maxFetchBytes {
		return nil, status.Errorf(codes.InvalidArgument,
			"a range [%d, %d): want 1 to %d bytes", begin, end, maxFetchBytes)
	}
	data, err := o.ck.Read(fileRange(r))
	switch {
	case errors.Is(err, safetensors.ErrAbsent):
		return nil, status.Error(codes.NotFound, err.Error())
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return data, nil
}

// enter waits for a turn. leave ends it.
func (o *offer) enter(ctx context.Context) (leave func(), err error) {
	if o.waiting.Add(1) > maxWaiting {
		o.waiting.Add(-1)
		return nil, status.Error(codes.ResourceExhausted,
			fmt.Sprintf("%d peers are waiting for weights", maxWaiting))
	}
	defer o.waiting.Add(-1)
	select {
	case o.slots <- struct{}{}:
		return func() { <-o.slots }, nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// wait lets coordinators go first, but not for ever.
func (o *offer) wait(ctx context.Context) error {
	ticker := time.NewTicker(courtesy / 5)
	defer ticker.Stop()
	for begun := time.Now(); o.busy() && time.Since(begun) < courtesy; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	return nil
}
