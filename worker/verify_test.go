package worker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/internal/safetensors"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
	"github.com/conclave-serve/conclave/shard"
)

// partOf is a range of an expert.
func (l *loader) partOf(t *testing.T, layer, expert int) part {
	t.Helper()
	for file, list := range l.source.peers.spans {
		for _, s := range list {
			if s.layer == layer && s.expert == expert {
				return part{safetensors.Range{File: file, Begin: s.begin, End: s.end}, layer, expert}
			}
		}
	}
	t.Fatalf("expert %d of layer %d is nowhere", expert, layer)
	return part{}
}

// flip damages a byte of a part in the first n reads of it, in the same way in each or not.
func flip(at part, n int, same bool) func(data []byte, begin, end int64) {
	reads, where := 0, at.Begin+10
	return func(data []byte, begin, end int64) {
		if where < begin || where >= end {
			return
		}
		if reads++; reads <= n {
			mask := byte(128)
			if !same {
				mask = byte(reads)
			}
			data[where] ^= mask
		}
	}
}

// teller holds experts and sends none of them; it tells checksums that lies was added to.
type teller struct {
	*offer
	lies uint32
}

func (p *teller) Fetch(*conclavev1.FetchRequest, conclavev1.WeightService_FetchServer) error {
	return errors.New("it sends nothing")
}

func (p *teller) Checksum(
	ctx context.Context, req *conclavev1.ChecksumRequest,
) (*conclavev1.ChecksumResponse, error) {
	resp, err := p.offer.Checksum(ctx, req)
	for i := range resp.GetCrc32C() {
		resp.Crc32C[i] += p.lies
	}
	return resp, err
}

// noMirror brings nothing.
type noMirror struct{}

func (noMirror) Read(context.Context, safetensors.Range, func([]byte) error) error {
	return errNobody
}

// startComparing is a loader that reads from its origin and compares with tellers.
func startComparing(t *testing.T, lies ...uint32) (*loader, []*teller) {
	t.Helper()
	var addrs []string
	var tellers []*teller
	for _, n := range lies {
		p := &teller{goodOffer(t), n}
		tellers, addrs = append(tellers, p), append(addrs, startWeights(t, p))
	}
	l := startLoader(t, addrs...)
	l.source.UseMirror(noMirror{})
	return l, tellers
}

// Bytes that were damaged once are noticed, read again and replaced; the peer that held the right
// ones hears of the others.
func TestDamagedBytesAreReplaced(t *testing.T) {
	l, tellers := startComparing(t, 0)
	at := l.partOf(t, 0, 3)
	l.origin.spoiled(flip(at, 1, true))
	if err := l.load(t, 0, 2, 3); err != nil {
		t.Fatal(err)
	}
	l.mustMatch(t, 0, 2, 3)
	select {
	case s := <-tellers[0].suspects:
		if s.Begin < at.Begin || s.End > at.End || s.Begin > at.Begin+10 {
			t.Errorf("it suspects %v", s)
		}
	default:
		t.Error("the holder was not told")
	}
}

// A peer that holds something else than the origin sends twice is not believed, nor is an origin
// that sends something else each time, nor one that two peers contradict.
func TestDisputes(t *testing.T) {
	const always = 1 << 20
	for _, c := range []struct {
		name  string
		lies  []uint32
		spoil func(at part) func([]byte, int64, int64)
		fails bool
	}{
		{"a liar", []uint32{1}, nil, false},
		{"two liars", []uint32{1, 2}, nil, false},
		{"liars who agree", []uint32{1, 1}, nil, true},
		{"an honest one and a liar", []uint32{1, 0}, nil, false},
		{"a fickle origin", []uint32{0}, func(at part) func([]byte, int64, int64) { return flip(at, always, false) }, true},
		{"a wrong origin", []uint32{0, 0}, func(at part) func([]byte, int64, int64) { return flip(at, always, true) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, _ := startComparing(t, c.lies...)
			if c.spoil != nil {
				l.origin.spoiled(c.spoil(l.partOf(t, 0, 3)))
			}
			err := l.load(t, 0, 3)
			if c.fails {
				if !errors.Is(err, errDisputed) || !errors.Is(err, safetensors.ErrFetch) {
					t.Errorf("it ended with %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			l.mustMatch(t, 0, 3)
		})
	}
}

// Where another worker finds this one's bytes to be different, and the origin agrees with it, they
// are replaced, and the expert is read anew.
func TestMend(t *testing.T) {
	l := startLoader(t)
	at := l.partOf(t, 1, 4)
	l.origin.spoiled(flip(at, 1, true))
	if err := l.load(t, 1, 4, 5); err != nil { // nobody to compare with
		t.Fatal(err)
	}
	right, err := l.local.Read(at.Range)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := l.source.ck.Read(at.Range)
	if err != nil || slices.Equal(right, wrong) {
		t.Fatalf("nothing was damaged, %v", err)
	}
	w := &Worker{
		log: slog.New(slog.DiscardHandler), checkpoint: l.source.ck, store: l.store,
		weights: l.source, spans: l.source.peers.spans,
	}
	before := l.origin.sent.Load()
	if err := w.mend(t.Context(), suspect{at.Range, castagnoli(right)}); err != nil {
		t.Fatal(err)
	}
	l.mustMatch(t, 1, 4, 5)
	if n := l.origin.sent.Load() - before; n != at.End-at.Begin {
		t.Errorf("%d bytes were read for a range of %d", n, at.End-at.Begin)
	}
	// One that is wrong itself changes nothing.
	if err := w.mend(t.Context(), suspect{at.Range, 1}); err != nil {
		t.Error(err)
	}
	l.mustMatch(t, 1, 4)
}

// What nobody could be asked about when it was read is compared as soon as somebody can be.
func TestCompareLater(t *testing.T) {
	l, _ := startComparing(t, 0)
	peers := l.state.Workers
	l.newState(membership.State{})
	l.origin.spoiled(flip(l.partOf(t, 0, 3), 1, true))
	if err := l.load(t, 0, 2, 3); err != nil {
		t.Fatal(err)
	}
	w := &Worker{log: slog.New(slog.DiscardHandler), store: l.store, weights: l.source}
	w.compareLater(t.Context())
	// The peer is to have both by the plan, and has their bytes, but does not say so yet.
	plan := shard.Plan{Epoch: 1, Model: "m", Workers: []shard.WorkerID{"a", "me"}}
	for range l.spec.Layers {
		plan.Layers = append(plan.Layers, []shard.Set{shard.NewSet(2, 3), shard.NewSet(2, 3)})
	}
	encoded, err := plan.Encode()
	if err != nil {
		t.Fatal(err)
	}
	a := peers["a"]
	a.Ready = nil
	l.newState(membership.State{
		Workers: map[string]membership.Worker{"a": a}, Plan: encoded, PlanRevision: 1,
	})
	w.compareLater(t.Context())
	l.mustMatch(t, 0, 2, 3)
	if n := len(l.source.uncompared(func(part) bool { return true })); n > 0 {
		t.Errorf("%d parts are still to be compared", n)
	}
}
