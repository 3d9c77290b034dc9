package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/internal/wire"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

const (
	// perPeer is how many ranges one peer is asked for at once: one on its way while another is
	// being written.
	perPeer = 2
	// maxTried is how many holders of a range are tried before the origin is.
	maxTried = 2
	// peerMessage bounds what a peer sends in one message.
	peerMessage = 1 << 20
)

// peerPace is how long peers are waited for.
type peerPace struct {
	piece time.Duration // for the next piece
	avoid time.Duration // how long a peer that has failed is not asked
	rate  int64         // bytes a second that a peer has to bring
}

// defaultPeerPace gives a peer up when an origin behind a middling line would be faster.
func defaultPeerPace() peerPace {
	return peerPace{piece: 2 * time.Second, avoid: 30 * time.Second, rate: 4 << 20}
}

// peers reads weights from other workers that have them: a safetensors.Mirror.
type peers struct {
	holders *holders
	spans   expertSpans
	pace    peerPace
	log     *slog.Logger

	mu      sync.Mutex
	conns   map[peer]*peerConn
	avoided map[peer]time.Time // until when
}

// peerConn is a connection to a peer. Its slots are taken by the calls on it.
type peerConn struct {
	conn  *grpc.ClientConn
	slots chan struct{}
}

func newPeers(h *holders, spans expertSpans, log *slog.Logger) *peers {
	return &peers{
		holders: h, spans: spans, pace: defaultPeerPace(), log: log,
		conns: map[peer]*peerConn{}, avoided: map[peer]time.Time{},
	}
}

// errNobody is why a range cannot be had from peers; errPiece why one failed to be kept, which is
// not the peer's fault.
var (
	errNobody = errors.New("no other worker that can be asked holds it")
	errPiece  = errors.New("keep what a peer sent")
)

// Read implements safetensors.Mirror: it asks for each expert's part one of those who hold it, and
// when that one fails another.
func (p *peers) Read(ctx context.Context, r safetensors.Range, piece func([]byte) error) error {
	for r.Begin < r.End {
		owner, one, ok := p.spans.first(r, maxFetchBytes)
		if !ok {
			return errNobody
		}
		if err := p.readPart(ctx, part{one, owner.layer, owner.expert}, piece); err != nil {
			return err
		}
		r.Begin = one.End
	}
	return nil
}

func (p *peers) readPart(ctx context.Context, one part, piece func([]byte) error) error {
	err := errNobody
	for _, who := range p.chosen(one) {
		var n int64
		n, err = p.fetch(ctx, who, one.Range, piece)
		one.Begin += n
		if err == nil || ctx.Err() != nil || errors.Is(err, errPiece) {
			return err
		}
		p.failed(who, err)
	}
	return err
}

// chosen lists the peers to try for a range: those who hold it and have not failed lately, who has
// least to do first.
func (p *peers) chosen(one part) []peer {
	list := slices.DeleteFunc(p.holders.list(one.layer, one.expert), p.avoids)
	if len(list) == 0 {
		return nil
	}
	turn := (one.layer + one.expert) % len(list) // of those that have as little to do
	list = append(list[turn:], list[:turn]...)
	p.mu.Lock()
	defer p.mu.Unlock()
	load := func(who peer) int {
		if c := p.conns[who]; c != nil {
			return len(c.slots)
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b peer) int { return load(a) - load(b) })
	return list[:min(len(list), maxTried)]
}

// failed notes that a peer is not to be asked for a while, unless it only lacks what it was asked
// for.
func (p *peers) failed(who peer, err error) {
	code := status.Code(err)
	if errors.Is(err, errNobody) || code == codes.NotFound || code == codes.ResourceExhausted {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.avoided[who]) {
		return // another call has said so
	}
	p.avoided[who] = time.Now().Add(p.pace.avoid)
	p.log.Warn("a peer fails to send weights", "peer", who.id, "err", err, "avoid", p.pace.avoid)
}

// fetch reads a range from a peer and hands on n bytes of its beginning.
func (p *peers) fetch(
	ctx context.Context, who peer, r safetensors.Range, piece func([]byte) error,
) (n int64, err error) {
	client, leave, err := p.call(ctx, who)
	if err != nil {
		return 0, err
	}
	defer leave()
	want := r.End - r.Begin
	ctx, cancel := context.WithTimeout(ctx, p.pace.limit(want))
	defer cancel()
	stall := time.AfterFunc(p.pace.piece, cancel)
	defer stall.Stop()
	stream, err := client.Fetch(ctx, &conclavev1.FetchRequest{
		Model: p.holders.self.Model, Range: wireRange(r),
	})
	if err != nil {
		return 0, err
	}
	for n < want {
		got, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return n, io.ErrUnexpectedEOF
		case err != nil && ctx.Err() != nil:
			return n, fmt.Errorf("too slow: %w", err)
		case err != nil:
			return n, err
		case len(got.GetPiece()) == 0 || int64(len(got.GetPiece())) > want-n:
			return n, fmt.Errorf("a piece of %d bytes, %d are missing", len(got.GetPiece()), want-n)
		case castagnoli(got.GetPiece()) != got.GetCrc32C():
			return n, fmt.Errorf("%s from byte %d on: the checksum of a piece is wrong",
				r.File, r.Begin+n)
		}
		stall.Stop() // the disk's time is not the peer's
		if err := piece(got.GetPiece()); err != nil {
			return n, fmt.Errorf("%w: %w", errPiece, err)
		}
		stall.Reset(p.pace.piece)
		n += int64(len(got.GetPiece()))
	}
	return n, nil
}

// limit is the time for a call about some bytes.
func (p peerPace) limit(bytes int64) time.Duration {
	return 2*p.piece + time.Duration(float64(bytes)/float64(p.rate)*float64(time.Second))
}

func wireRange(r safetensors.Range) *conclavev1.FileRange {
	return &conclavev1.FileRange{File: r.File, Begin: uint64(r.Begin), End: uint64(r.End)}
}

// call waits for a slot on the connection to a peer. leave gives it back.
func (p *peers) call(
	ctx context.Context, who peer,
) (_ conclavev1.WeightServiceClient, leave func(), err error) {
	c, err := p.connect(who)
	if err != nil {
		return nil, nil, err
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if p.avoids(who) { // it has failed those who were before
		<-c.slots
		return nil, nil, errNobody
	}
	return conclavev1.NewWeightServiceClient(c.conn), func() { <-c.slots }, nil
}

func (p *peers) avoids(who peer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.avoided[who])
}

func (p *peers) connect(who peer) (*peerConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.conns[who]; c != nil {
		return c, nil
	}
	conn, err := grpc.NewClient("passthrough:///"+who.addr, append(wire.DialOptions(peerMessage),
		grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return nil, fmt.Errorf("dial worker %s at %s: %w", who.id, who.addr, err)
	}
	c := &peerConn{conn: conn, slots: make(chan struct{}, perPeer)}
	p.conns[who] = c
	return c, nil
}

// rest hangs up on peers that nobody is reading from, until they are asked again.
func (p *peers) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for who, c := range p.conns {
		if len(c.slots) > 0 {
			continue
		}
		_ = c.conn.Close() // nothing is pending on it
		delete(p.conns, who)
	}
	for who, until := range p.avoided {
		if time.Now().After(until) {
			delete(p.avoided, who)
		}
	}
}
