package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/conclave-serve/conclave/internal/safetensors"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

// comparedSource is a Source whose bytes are compared with those of other workers before they count
// as fetched. Nobody can tell from a part of a file alone whether it is right, but two who have
// read it apart will hardly have the same damage.
type comparedSource struct {
	safetensors.Remote
	ck    *safetensors.Checkpoint // nil until it is open: only headers and samples are read before
	peers *peers

	mu sync.Mutex
	// alone are parts that nobody else has had an opinion on.
	alone map[part]bool
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
	_, err := s.compare(ctx, s.peers.spans.parts(ranges, maxFetchBytes))
	return err
}

// opinion is what a peer holds in a range.
type opinion struct {
	who peer
	sum uint32
}

// compare asks up to two others about each part, and settles what they disagree on. It returns the
// parts whose bytes were replaced.
func (s *comparedSource) compare(ctx context.Context, parts []part) (replaced []part, err error) {
	own := make([]uint32, len(parts))
	asked := map[peer][]int{} // indices of parts
	for i, one := range parts {
		who := slices.DeleteFunc(s.peers.holders.both(one.layer, one.expert), s.peers.avoids)
		if len(who) == 0 {
			continue
		}
		data, err := s.ck.Read(one.Range)
		if err != nil {
			return nil, err
		}
		own[i] = castagnoli(data)
		for _, p := range who[:min(len(who), maxTried)] {
			asked[p] = append(asked[p], i)
		}
	}
	heard := make([][]opinion, len(parts))
	for who, indices := range asked {
		for batch := range slices.Chunk(indices, maxRanges) {
			said, err := s.peers.checksums(ctx, who, parts, own, batch)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil { // one who says nothing has no opinion
				s.peers.failed(who, err)
				break
			}
			for k, i := range batch {
				if said.GetPresent()[k] {
					heard[i] = append(heard[i], opinion{who, said.GetCrc32C()[k]})
				}
			}
		}
	}
	s.note(parts, heard)
	for i, opinions := range heard {
		differs := func(o opinion) bool { return o.sum != own[i] }
		if !slices.ContainsFunc(opinions, differs) {
			continue
		}
		changed, err := s.settle(ctx, parts[i], own[i], opinions)
		if err != nil {
			return replaced, err
		}
		if changed {
			replaced = append(replaced, parts[i])
		}
	}
	return replaced, nil
}

// note keeps in mind which parts nobody has had an opinion on.
func (s *comparedSource) note(parts []part, heard [][]opinion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alone == nil {
		s.alone = map[part]bool{}
	}
	for i, one := range parts {
		if len(heard[i]) > 0 {
			delete(s.alone, one)
		} else {
			s.alone[one] = true
		}
	}
}

// uncompared lists the parts on which nobody has had an opinion and somebody now may have one, as
// far as they are held.
func (s *comparedSource) uncompared(held func(part) bool) []part {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []part
	for one := range s.alone {
		if held(one) && len(s.peers.holders.both(one.layer, one.expert)) > 0 {
			list = append(list, one)
		}
	}
	return list
}

// checksums asks a peer for the checksums of some parts, and tells it ours.
func (p *peers) checksums(
	ctx context.Context, who peer, parts []part, own []uint32, batch []int,
) (*conclavev1.ChecksumResponse, error) {
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
	said, err := client.Checksum(ctx, req)
	if err != nil {
		return nil, err
	}
	if len(said.GetCrc32C()) != len(batch) || len(said.GetPresent()) != len(batch) {
		return nil, fmt.Errorf("%d checksums of %d ranges", len(said.GetCrc32C()), len(batch))
	}
	return said, nil
}

// errDisputed is the error of bytes that nobody else confirms.
var errDisputed = errors.New("workers and the origin disagree about the bytes of the checkpoint")

// settle reads a part of which somebody has other bytes from the origin again: what it says now
// stands if another one says the same and no two say something else.
func (s *comparedSource) settle(
	ctx context.Context, one part, own uint32, opinions []opinion,
) (replaced bool, err error) {
	log := s.peers.log.With("file", one.File, "begin", one.Begin, "end", one.End,
		"layer", one.layer, "expert", one.expert, "peer", opinions[0].who.id)
	log.Warn("a peer holds other bytes of an expert; reading them from the origin again")
	data, err := s.Reread(ctx, one.Range)
	if err != nil {
		return false, fmt.Errorf("%w, and it cannot be asked: %w", errDisputed, err)
	}
	sum := castagnoli(data)
	votes, against := 0, 0
	if own == sum {
		votes++
	}
	for _, o := range opinions {
		switch o.sum {
		case sum:
			votes++
		case opinions[0].sum:
			against++
		}
	}
	switch {
	case votes == 0 || against > votes:
		return false, fmt.Errorf("%s [%d, %d), of expert %d of layer %d: %w: remove the damaged copy",
			one.File, one.Begin, one.End, one.expert, one.layer, errDisputed)
	case own == sum:
		log.Error("a peer holds damaged bytes of an expert, and was told")
		return false, nil
	}
	log.Warn("damaged bytes of an expert were replaced")
	return true, s.Replace(one.Range, data)
}
