package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/shard"
)

// compareEvery is the time between looks for somebody to compare with. They cost little while the
// registry has not changed: only one of compareAnyway is then more than a glance.
const (
	compareEvery  = time.Second
	compareAnyway = 60
)

// reconsider looks again at what peers have told to be different from theirs, and at what could not
// be compared when it was read, until ctx ends.
func (w *Worker) reconsider(ctx context.Context) {
	ticker := time.NewTicker(compareEvery)
	defer ticker.Stop()
	seen := map[suspect]bool{}
	var state *membership.State // when it was last compared
	for ticks := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			now := w.state.Load()
			if ticks++; w.weights != nil && (now != state || ticks%compareAnyway == 0) {
				state = now
				w.compareLater(ctx)
			}
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

// compareLater compares what is held and could not be compared before.
func (w *Worker) compareLater(ctx context.Context) {
	parts := w.weights.uncompared(func(one part) bool {
		return w.store.Expert(one.layer, one.expert) != nil
	})
	replaced, err := w.weights.compare(ctx, parts)
	if err = errors.Join(err, w.reread(ctx, replaced)); err != nil && ctx.Err() == nil {
		w.log.Error("experts that are served may be damaged", "err", err)
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
	w.log.Warn("damaged bytes of an expert were replaced", "file", s.File, "begin", s.Begin,
		"end", s.End)
	return w.reread(ctx, w.spans.parts([]safetensors.Range{s.Range}, maxFetchBytes))
}

// reread makes experts anew whose bytes were replaced: scales and the like are kept in another form
// than in the file.
func (w *Worker) reread(ctx context.Context, parts []part) error {
	for _, one := range parts {
		if w.store.Expert(one.layer, one.expert) == nil {
			continue
		}
		set := shard.NewSet(one.expert)
		w.store.Drop(one.layer, set)
		if err := w.store.Load(ctx, one.layer, set, nil); err != nil {
			return err
		}
	}
	return nil
}
