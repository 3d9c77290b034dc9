package worker

import (
	"bytes"
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

// pieces is the stream of a Fetch, as the server sees it.
type pieces struct {
	ctx  context.Context
	data []byte
	most int
	bad  bool // a piece had a wrong checksum
}

func (p *pieces) Send(r *conclavev1.FetchResponse) error {
	p.data = append(p.data, r.GetPiece()...)
	p.most = max(p.most, len(r.GetPiece()))
	p.bad = p.bad || castagnoli(r.GetPiece()) != r.GetCrc32C()
	return nil
}

func (p *pieces) Context() context.Context     { return p.ctx }
func (p *pieces) SetHeader(metadata.MD) error  { return nil }
func (p *pieces) SendHeader(metadata.MD) error { return nil }
func (p *pieces) SetTrailer(metadata.MD)       {}
func (p *pieces) SendMsg(any) error            { return io.ErrClosedPipe }
func (p *pieces) RecvMsg(any) error            { return io.EOF }

const weightsFile = "model.safetensors"

func TestOfferSendsRanges(t *testing.T) {
	want, err := os.ReadFile(filepath.Join(checkpointDir, weightsFile))
	if err != nil {
		t.Fatal(err)
	}
	o := goodOffer(t)
	size := uint64(len(want))
	for _, r := range [][2]uint64{{0, 1}, {0, size}, {size - 1, size}, {100, 100 + pieceBytes + 1}} {
		got := &pieces{ctx: t.Context()}
		err := o.Fetch(&conclavev1.FetchRequest{Model: "m", Range: &conclavev1.FileRange{
			File: weightsFile, Begin: r[0], End: r[1],
		}}, got)
		if err != nil || got.bad || got.most > pieceBytes || !bytes.Equal(got.data, want[r[0]:r[1]]) {
			t.Errorf("%v: %d bytes, %v", r, len(got.data), err)
		}
	}
}

func TestOfferRefuses(t *testing.T) {
	o := goodOffer(t)
	l := startLoader(t)
	lacking := newOffer("m", l.source.ck, func() bool { return false })
	for _, c := range []struct {
		o          *offer
		model      string
		file       string
		begin, end uint64
		code       codes.Code
	}{
		{o, "other", weightsFile, 0, 1, codes.FailedPrecondition},
		{o, "m", "config.json", 0, 1, codes.InvalidArgument},
		{o, "m", "../" + weightsFile, 0, 1, codes.InvalidArgument},
		{o, "m", "", 0, 1, codes.InvalidArgument},
		{o, "m", weightsFile, 1, 1, codes.InvalidArgument},
		{o, "m", weightsFile, 2, 1, codes.InvalidArgument},
		{o, "m", weightsFile, 0, maxFetchBytes + 1, codes.InvalidArgument},
		{o, "m", weightsFile, 1 << 40, 1<<40 + 1, codes.InvalidArgument},
		{o, "m", weightsFile, math.MaxUint64 - 1, math.MaxUint64, codes.InvalidArgument},
		{o, "m", weightsFile, math.MaxInt64, math.MaxInt64 + 1, codes.InvalidArgument},
		{lacking, "m", weightsFile, 1 << 18, 1<<18 + 1, codes.NotFound},
	} {
		r := &conclavev1.FileRange{File: c.file, Begin: c.begin, End: c.end}
		err := c.o.Fetch(&conclavev1.FetchRequest{Model: c.model, Range: r}, &pieces{ctx: t.Context()})
		if status.Code(err) != c.code {
			t.Errorf("%s [%d, %d): %v, want %v", c.file, c.begin, c.end, err, c.code)
		}
		sums, err := c.o.Checksum(t.Context(), &conclavev1.ChecksumRequest{
			Model: c.model, Ranges: []*conclavev1.FileRange{r},
		})
		if c.code == codes.NotFound && err == nil && !sums.GetPresent()[0] {
			continue // others of the request may be there
		}
		if status.Code(err) != c.code {
			t.Errorf("checksum of %s [%d, %d): %v, want %v", c.file, c.begin, c.end, err, c.code)
		}
	}
	for _, req := range []*conclavev1.ChecksumRequest{
		{Model: "m", Ranges: make([]*conclavev1.FileRange, maxRanges+1)},
		{Model: "m", Ranges: make([]*conclavev1.FileRange, 1), Crc32C: []uint32{1, 2}},
		{Model: "m", Ranges: make([]*conclavev1.FileRange, 1)},
	} {
		if _, err := o.Checksum(t.Context(), req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", req, err)
		}
	}
}

// Peers wait for one another, but only so many; and for coordinators, but only for so long.
func TestOfferIsBounded(t *testing.T) {
	o := goodOffer(t)
	for range maxServed {
		if _, err := o.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.enter(gone); status.Code(err) != codes.Canceled {
		t.Errorf("one who has left: %v", err)
	}
	o.waiting.Store(maxWaiting)
	if _, err := o.enter(t.Context()); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one too many: %v", err)
	}
	o.busy = func() bool { return true }
	if err := o.wait(t.Context()); err != nil {
		t.Error(err)
	}
	if err := o.wait(gone); status.Code(err) != codes.Canceled {
		t.Errorf("one who has left: %v", err)
	}
}

// Suspicions beyond the bound are dropped, and nobody waits.
func TestSuspectsAreBounded(t *testing.T) {
	o := goodOffer(t)
	for range maxSuspects + 1 {
		_, err := o.Checksum(t.Context(), &conclavev1.ChecksumRequest{
			Model: "m", Crc32C: []uint32{1},
			Ranges: []*conclavev1.FileRange{{File: weightsFile, Begin: 0, End: 9}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(o.suspects) != maxSuspects {
		t.Errorf("%d suspects", len(o.suspects))
	}
}

// FuzzOffer sends anything as requests: nothing panics, and what is sent is what was asked for.
func FuzzOffer(f *testing.F) {
	ck := openFolder(f, checkpointDir)
	for _, m := range []proto.Message{
		&conclavev1.FetchRequest{Model: "m", Range: &conclavev1.FileRange{File: weightsFile, End: 9}},
		&conclavev1.ChecksumRequest{
			Model: "m", Crc32C: []uint32{1},
			Ranges: []*conclavev1.FileRange{{File: weightsFile, Begin: 5, End: 9}},
		},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o := newOffer("m", ck, func() bool { return false })
		var fetch conclavev1.FetchRequest
		if proto.Unmarshal(data, &fetch) == nil {
			got := &pieces{ctx: t.Context()}
			err := o.Fetch(&fetch, got)
			n := fetch.GetRange().GetEnd() - fetch.GetRange().GetBegin()
			if err == nil && (got.bad || uint64(len(got.data)) != n) || err != nil && len(got.data) > 0 {
				t.Errorf("%v: %d bytes, %v", &fetch, len(got.data), err)
			}
		}
		var sums conclavev1.ChecksumRequest
		if proto.Unmarshal(data, &sums) == nil {
			got, err := o.Checksum(t.Context(), &sums)
			if err == nil && len(got.GetCrc32C()) != len(sums.GetRanges()) {
				t.Errorf("%v: %v", &sums, got)
			}
		}
	})
}

// A short message that announces many elements is refused before they are allocated.
func TestSmallMessagesAreBounded(t *testing.T) {
	data, err := proto.Marshal(&conclavev1.ChecksumRequest{
		Ranges: make([]*conclavev1.FileRange, 1<<19),
	})
	if err != nil {
		t.Fatal(err)
	}
	o := goodOffer(t)
	l := startLoader(t, startWeights(t, o))
	client, leave, err := l.source.peers.call(t.Context(), l.source.peers.holders.list(0, 0)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	var req conclavev1.ChecksumRequest
	if err := proto.Unmarshal(data, &req); err != nil {
		t.Fatal(err)
	}
	_, err = client.Checksum(t.Context(), &req)
	if err == nil || status.Code(err) == codes.InvalidArgument {
		t.Errorf("a request of %d bytes: %v", len(data), err)
	}
}
