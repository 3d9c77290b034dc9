package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/conclave-serve/conclave/internal/safetensors"
)

// UseMirror implements safetensors.Remote.
func (m *Model) UseMirror(mirror safetensors.Mirror) { m.mirror = mirror }

// BytesRead implements safetensors.Remote.
func (m *Model) BytesRead() (origin, mirror int64) {
	return m.fromOrigin.Load(), m.fromMirror.Load()
}

// fromMirror reads from the mirror what it brings. The origin is asked for the rest, so errors are
// not the caller's concern.
func (t *task) fromMirror(ctx context.Context, told func(int64)) {
	f := t.file
	for _, s := range t.missing() {
		at := s.begin
		r := safetensors.Range{File: f.name, Begin: s.begin, End: s.end}
		err := f.m.mirror.Read(ctx, r, func(piece []byte) error {
			if int64(len(piece)) > s.end-at {
				return fmt.Errorf("more than the %d bytes that were asked for", s.bytes())
			}
			if err := f.keep(piece, at); err != nil {
				return err
			}
			at += int64(len(piece))
			f.m.fromMirror.Add(int64(len(piece)))
			told(int64(len(piece)))
			return nil
		})
		if err != nil {
			f.m.log.Debug("not from a mirror", "file", f.name, "begin", at, "end", s.end, "err", err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// Reread implements safetensors.Remote. It is patient for as long as a start is.
func (m *Model) Reread(ctx context.Context, r safetensors.Range) ([]byte, error) {
	f := m.file(r.File)
	if f == nil || r.Begin < 0 || r.End < r.Begin || r.End > f.have.Size {
		return nil, fmt.Errorf("hub: no range [%d, %d) of %s is open", r.Begin, r.End, r.File)
	}
	data := make([]byte, 0, r.End-r.Begin)
	err := m.client.retry(ctx, r.File, m.client.pace.open, func() (bool, error) {
		before := len(data)
		for s := (span{r.Begin, r.End}); len(data) < cap(data); {
			s.begin = r.Begin + int64(len(data))
			part := span{s.begin, min(s.end, s.begin+maxSpan)}
			n, err := f.receive(ctx, part, func(piece []byte, _ int64) error {
				data = append(data, piece...)
				return nil
			})
			m.fromOrigin.Add(n)
			if err != nil {
				return len(data) > before, err
			}
		}
		return true, nil
	})
	return data, err
}

// Replace implements safetensors.Remote. What is the same already is not written, so that whoever
// has it mapped is not disturbed.
func (m *Model) Replace(r safetensors.Range, data []byte) error {
	f := m.file(r.File)
	if f == nil || r.Begin < 0 || r.End-r.Begin != int64(len(data)) || r.End > f.have.Size {
		return fmt.Errorf("hub: no range [%d, %d) of %s is open", r.Begin, r.End, r.File)
	}
	old := make([]byte, len(data))
	if _, err := f.data.ReadAt(old, r.Begin); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the cache: %w", err)
	}
	if !bytes.Equal(old, data) {
		if err := f.keep(data, r.Begin); err != nil {
			return err
		}
	}
	return f.commit()
}
