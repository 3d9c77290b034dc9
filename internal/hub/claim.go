package hub

import (
	"context"
	"time"
)

const (
	// claimBytes is the least span that is claimed: two reads of less cost little, and each claim
	// ends with a commit.
	claimBytes = 1 << 20
	// claimEvery is the time between looks at a claim that somebody else has, claimPatience when to
	// read the span as well: the other one may be stopped.
	claimEvery    = 20 * time.Millisecond
	claimPatience = time.Minute
)

// claimed reads a span that other processes may want at the same moment: who comes second waits,
// and finds it present. A claim ends with its process.
func (t *task) claimed(ctx context.Context, told func(int64)) error {
	release, err := t.claim(ctx)
	if err != nil {
		return err
	}
	defer release()
	for _, s := range t.file.refresh(spans{t.span}) {
		part := task{t.file, s, t.want}
		if err := part.fetch(ctx, told); err != nil {
			return err
		}
	}
	return t.file.commit()
}

// claim waits for the claim on the task's span, but not for ever.
func (t *task) claim(ctx context.Context) (release func(), err error) {
	ticker := time.NewTicker(claimEvery)
	defer ticker.Stop()
	for begun := time.Now(); ; {
		release, got, err := claimSpan(t.file.claims, t.span)
		if err != nil || got {
			return release, err
		}
		if time.Since(begun) > claimPatience {
			return func() {}, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
