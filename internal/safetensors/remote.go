package safetensors

import (
	"bytes"
	"context"
	"fmt"
)

// Mirror is somebody who may have ranges of the same weight files and is nearer than their origin.
type Mirror interface {
	// Read hands over the bytes of a range from its beginning on, piece by piece. What a piece
	// brings is as the mirror sent it. An error ends the reading; the pieces before it stand.
	Read(ctx context.Context, r Range, piece func([]byte) error) error
}

// Remote is a Source that reads its files from an origin, of which there may be mirrors.
type Remote interface {
	Source
	// UseMirror makes Fetch ask a mirror first, and the origin for what the mirror does not bring.
	// It is called before Fetch.
	UseMirror(m Mirror)
	// Reread reads a range from the origin again, whether or not it is present, and leaves the
	// copy as it is.
	Reread(ctx context.Context, r Range) ([]byte, error)
	// Replace puts other bytes in the place of a range of the copy, which was found to be damaged.
	Replace(r Range, data []byte) error
	// BytesRead counts the bytes of weights that came from the origin and from mirrors so far.
	BytesRead() (origin, mirror int64)
}

// Read returns the bytes of a range of a weight file, as a view of the mapping. It refuses ranges
// outside the file, and with ErrAbsent those that are not present.
func (c *Checkpoint) Read(r Range) ([]byte, error) {
	for _, f := range c.files {
		if f.name != r.File {
			continue
		}
		if r.Begin < 0 || r.End < r.Begin || r.End > int64(len(f.data)) {
			return nil, fmt.Errorf("range [%d, %d) is outside %s, which has %d bytes",
				r.Begin, r.End, r.File, len(f.data))
		}
		if err := c.Require(r); err != nil {
			return nil, err
		}
		return f.data[r.Begin:r.End:r.End], nil
	}
	return nil, fmt.Errorf("the checkpoint has no weight file %s", quote(r.File))
}

// renewHeaders reads the headers of all files from a Remote's origin again, because something is
// wrong with them: a copy may have been damaged on its way or on the disk, and would stay so. It
// reports whether one is another now. Where the trouble is something else it does nothing.
func (c *Checkpoint) renewHeaders(ctx context.Context) (changed bool) {
	remote, ok := c.source.(Remote)
	if !ok || ctx.Err() != nil {
		return false
	}
	absent := false
	for _, f := range c.files {
		n, err := HeaderLength(f.data, int64(len(f.data)), f.name)
		if err != nil && remote.Present(Range{f.name, 0, prefixBytes}) {
			absent = false
			break // a length is wrong, for which the headers were not fetched
		}
		absent = absent || !remote.Present(Range{f.name, 0, prefixBytes + int64(n)})
	}
	if absent { // they could not be fetched, which is what is wrong
		return false
	}
	for _, f := range c.files {
		other, err := renewHeader(ctx, remote, f)
		if err != nil {
			return false // the first trouble tells more
		}
		changed = changed || other
	}
	return changed
}

// renewHeader reads one header again, and reports whether that has changed the copy.
func renewHeader(ctx context.Context, remote Remote, f *mapped) (changed bool, err error) {
	size := int64(len(f.data))
	r := Range{f.name, 0, min(prefixBytes, size)}
	prefix, err := remote.Reread(ctx, r)
	if err != nil {
		return false, err
	}
	n, err := HeaderLength(prefix, size, f.name)
	if err != nil {
		return false, err
	}
	r.End += int64(n)
	header, err := remote.Reread(ctx, r)
	if err != nil || bytes.Equal(header, f.data[:r.End]) {
		return false, err
	}
	return true, remote.Replace(r, header)
}
