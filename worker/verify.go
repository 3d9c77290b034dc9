package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/conclave-serve/conclave/internal/safetensors"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
	"github.com/conclave-serve/conclave/shard"
)

// comparedSource is a Source whose bytes are compared with those of other workers before they count
// as fetched. Nobody can tell from a part of a file alone whether it is right, but two who have
// read it apart will hardly have the same damage.
type comparedSource struct {
	safetensors.Remote
	ck    *safetensors.Checkpoint // nil until it is open: only headers and samples are read before
	peers *peers
}

// source is where the checkpoint's weights come from, nil for its folder.
func (w *Worker) source() safetensors.Source {
	remote, ok := w.cfg.Weights.(safetensors.Remote)
	if !ok {
		return w.cfg.Weights
	}
	w.weights = &comparedSource{Remote: remote}
	return w.weights
}

// meetPeers lets the source ask other workers, now that it is known what this one serves.
func (w *Worker) meetPeers() {
	if w.weights == nil {
		return
	}
	w.weights.peers = newPeers(&holders{self: w.id, state: w.state.Load}, w.spans, w.log)
	w.weights.ck = w.checkpoint
	if !w.cfg.OriginOnly {
		w.weights.UseMirror(w.weights.peers)
	}
}

// bytesRead counts what came from the origin and from other workers; 0 for a folder.
func (w *Worker) bytesRead() (origin, peers int64) {
	if w.weights == nil {
		return 0, 0
	}
	return w.weights.BytesRead()
}

// restPeers ends connections that were for loading.
func (w *Worker) restPeers() {
	if w.weights != nil && w.weights.peers != nil {
		w.weights.peers.rest()
	}
}

// Fetch implements safetensors.Source.
func (s *comparedSource) Fetch(
	ctx context.Context, ranges []safetensors.Range, progress func(bytes int64),
) error {
	if err := s.Remote.Fetch(ctx, ranges, progress); err != nil || s.ck == nil {
		return err
	}
	return s.compare(ctx, s.peers.spans.parts(ranges, maxFetchBytes))
}

// opinion is what a peer holds in a range.
type opinion struct {
	who peer
	sum uint32
}

// compare asks up to two holders of each part what they have, and settles what they disagree on.
func (s *comparedSource) compare(ctx context.Context, parts []part) error {
	own := make([]uint32, len(parts))
	asked := map[peer][]int{} // indices of parts
	for i, one := range parts {
		who := s.peers.chosen(one)
		if len(who) == 0 {
			continue
		}
		data, err := s.ck.Read(one.Range)
		if err != nil {
			return err
		}
		own[i] = castagnoli(data)
		for _, p := range who {
			asked[p] = append(asked[p], i)
		}
	}
	heard := make([][]opinion, len(parts))
	for who, indices := range asked {
		for batch := range slices.Chunk(indices, maxRanges) {
			sums, err := s.peers.checksums(ctx, who, parts, own, batch)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil { // one who says nothing has no opinion
				s.peers.failed(who, err)
				break
			}
			for k, i := range batch {
				heard[i] = append(heard[i], opinion{who, sums[k]})
			}
		}
	}
	for i, opinions := range heard {
		differs := func(o opinion) bool { return o.sum != own[i] }
		if !slices.ContainsFunc(opinions, differs) {
			continue
		}
		if err := s.settle(ctx, parts[i], own[i], opinions); err != nil {
			return err
		}
	}
	return nil
}

// checksums asks a peer for the checksums of some parts, and tells it ours.
func (p *peers) checksums(
	ctx context.Context, who peer, parts []part, own []uint32, batch []int,
) ([]uint32, error) {
	client, leave, err := p.call(ctx, who)
	if err != nil {
		return nil, err
	}
	defer leave()
	req := &conclavev1.ChecksumRequest{Model: p.holders.self.Model}
	var bytes int64
	for _, i := range batch {
		req.Ranges = append(req.Ranges, wireRange(parts[i].Range))
		req.Crc32C = append(req.Crc32C, own[i])
		bytes += parts[i].End - parts[i].Begin
	}
	ctx, cancel := context.WithTimeout(ctx, p.pace.limit(bytes/8)) // it only has to look at them
	defer cancel()
	resp, err := client.Checksum(ctx, req)
	if err != nil {
		return nil, err
	}
	if len(resp.GetCrc32C()) != len(batch) {
		return nil, fmt.Errorf("%d checksums of %d ranges", len(resp.GetCrc32C()), len(batch))
	}
	return resp.GetCrc32C(), nil
}

// errDisputed is the error of bytes that nobody else confirms.
var errDisputed = errors.New("workers and the origin disagree about the bytes of the checkpoint")

// settle reads a part of which somebody has other bytes from the origin again: what it says now
// stands if another one says the same and no two say something else.
func (s *comparedSource) settle(
	ctx context.Context, one part, own uint32, opinions []opinion,
) error {
	log := s.peers.log.With("file", one.File, "begin", one.Begin, "end", one.End,
		"layer", one.layer, "expert", one.expert, "peer", opinions[0].who.id)
	log.Warn("a peer holds other bytes of an expert; reading them from the origin again")
	data, err := s.Reread(ctx, one.Range)
	if err != nil {
		return fmt.Errorf("%w, and it cannot be asked: %w", errDisputed, err)
	}
	sum := castagnoli(data)
	votes, against := 0, 0
	if own == sum {
		votes++
	}
	for _, o := range opinions {
		if o.sum == sum {
			votes++
		} else if o.sum == opinions[0].sum {
			against++
		}
	}
	switch {
	case votes == 0 || against > votes:
		return fmt.Errorf("%s [%d, %d), of expert %d of layer %d: %w: remove the damaged copy",
			one.File, one.Begin, one.End, one.expert, one.layer, errDisputed)
	case own == sum:
		log.Error("a peer holds damaged bytes of an expert, and was told")
		return nil
	}
	log.Warn("damaged bytes of an expert were replaced")
	return s.Replace(one.Range, data)
}

// reconsider looks again at what peers have told to be different from theirs, until ctx ends.
func (w *Worker) reconsider(ctx context.Context) {
	seen := map[suspect]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-w.offer.suspects:
			// Whoever says the same again gets no further look: it costs reading from the origin.
			if seen[s] || len(seen) > 16*maxSuspects {
				continue
			}
			seen[s] = true
			if err := w.mend(ctx, s); err != nil && ctx.Err() == nil {
				w.log.Error("a peer holds other bytes of an expert", "file", s.File, "begin", s.Begin,
					"end", s.End, "err", err)
			}
		}
	}
}

// mend replaces a suspected range if the origin now says what the peer said.
func (w *Worker) mend(ctx context.Context, s suspect) error {
	data, err := w.checkpoint.Read(s.Range)
	if err != nil {
		return err
	}
	own := castagnoli(data)
	if own == s.theirs { // two processes that share a cache: the other one has mended it
		return nil
	}
	if w.weights == nil {
		return fmt.Errorf("%w: compare this worker's folder with that of others", errDisputed)
	}
	if data, err = w.weights.Reread(ctx, s.Range); err != nil {
		return err
	}
	switch castagnoli(data) {
	case own:
		return nil
	case s.theirs:
	default:
		return errDisputed
	}
	if err := w.weights.Replace(s.Range, data); err != nil {
		return err
	}
	// Scales and the like are kept in another form than in the file.
	for _, one := range w.spans.parts([]safetensors.Range{s.Range}, maxFetchBytes) {
		if w.store.Expert(one.layer, one.expert) == nil {
			continue
		}
		set := shard.NewSet(one.expert)
		w.store.Drop(one.layer, set)
		if err := w.store.Load(ctx, one.layer, set, nil); err != nil {
			return err
		}
	}
	w.log.Warn("damaged bytes of an expert were replaced", "file", s.File, "begin", s.Begin,
		"end", s.End)
	return nil
}
