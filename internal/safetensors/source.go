package safetensors

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// Range is the bytes [Begin, End) of a weight file.
type Range struct {
	File       string
	Begin, End int64
}

// Source is where weight files come from that are not in the checkpoint's folder: it keeps sparse
// copies on this machine, and makes ranges of them present.
type Source interface {
	// Paths finds out what the files of these names are, and returns where their copies are, which
	// have the files' sizes. The error of one that does not exist is an fs.ErrNotExist. The copies
	// stay until the source is closed, which outlives the checkpoint.
	Paths(ctx context.Context, names ...string) ([]string, error)
	// Fetch makes ranges present. progress, if not nil, hears of bytes as they arrive, from one
	// goroutine at a time.
	Fetch(ctx context.Context, ranges []Range, progress func(bytes int64)) error
	// Present tells whether all of a range may be read.
	Present(r Range) bool
}

// paths are where the weight files of these names are. In a folder they may be missing.
func (c *Checkpoint) paths(ctx context.Context, dir string, names ...string) ([]string, error) {
	if c.source != nil {
		paths, err := c.source.Paths(ctx, names...)
		if err != nil {
			return nil, fmt.Errorf("open checkpoint: %w", err)
		}
		return paths, nil
	}
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = filepath.Join(dir, name)
	}
	return paths, nil
}

// fetchHeaders makes the headers of all files present.
func (c *Checkpoint) fetchHeaders(ctx context.Context) error {
	if c.source == nil {
		return nil
	}
	ranges := make([]Range, len(c.files))
	for i, f := range c.files {
		ranges[i] = Range{f.name, 0, prefixBytes}
	}
	if err := c.source.Fetch(ctx, ranges, nil); err != nil {
		return fmt.Errorf("open checkpoint: %w", err)
	}
	for i, f := range c.files {
		n, err := HeaderLength(f.data, int64(len(f.data)), f.name)
		if err != nil {
			return err
		}
		ranges[i].End = int64(prefixBytes + n)
	}
	if err := c.source.Fetch(ctx, ranges, nil); err != nil {
		return fmt.Errorf("open checkpoint: %w", err)
	}
	return nil
}

// Whole tells whether everything may be read without Fetch.
func (c *Checkpoint) Whole() bool { return c.source == nil }

// Fetch makes ranges present, which must be so before anybody looks at them. progress, if not nil,
// hears of bytes as they arrive, one call at a time. It does nothing if the checkpoint is whole. An
// error is an ErrFetch; another try goes on where this one ended.
func (c *Checkpoint) Fetch(
	ctx context.Context, ranges []Range, progress func(bytes int64),
) error {
	if c.source == nil {
		return nil
	}
	if err := c.source.Fetch(ctx, ranges, progress); err != nil {
		return fmt.Errorf("%w: %w", ErrFetch, err)
	}
	return nil
}

var (
	// ErrFetch is the error of Fetch.
	ErrFetch = errors.New("fetch weights")
	// ErrAbsent is the error of Require.
	ErrAbsent = errors.New("was not fetched")
)

// Require refuses ranges that are not present: they would read as zeros.
func (c *Checkpoint) Require(ranges ...Range) error {
	if c.source == nil {
		return nil
	}
	for _, r := range ranges {
		if !c.source.Present(r) {
			return fmt.Errorf("%s: range [%d, %d) %w", r.File, r.Begin, r.End, ErrAbsent)
		}
	}
	return nil
}
