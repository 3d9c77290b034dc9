package hub

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// maxSmallBytes bounds a small file: the largest index or tokenizer is below 100 MB.
const maxSmallBytes = 128 << 20

// small brings the cache's copy of a small file up to date. It reports whether the file exists.
func (m *Model) small(ctx context.Context, name string) (exists bool, err error) {
	path, tag := filepath.Join(m.Dir(), name), filepath.Join(m.dir, "tags", name)
	var got *smallFile
	err = m.client.retry(ctx, name, m.client.pace.open, func() (bool, error) {
		got, err = m.client.small(ctx, name, storedTag(path, tag))
		return false, err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, m.forget(path, tag, err)
	case err != nil || got == nil: // not modified
		return true, err
	}
	return true, m.locked(func() error {
		// Without its tag the file is read again.
		if err := os.Remove(tag); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := writeWhole(path, got.data); err != nil {
			return fmt.Errorf("write the cache: %w", err)
		}
		return writeWhole(tag, []byte(got.tag))
	})
}

// forget removes a file that the origin has no more; why is the error that said so.
func (m *Model) forget(path, tag string, why error) error {
	status := new(statusError)
	if errors.As(why, &status) && status.code == http.StatusForbidden {
		m.log.Debug("taken as missing", "file", filepath.Base(path), "status", status.code)
	}
	for _, p := range []string{tag, path} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// storedTag is the ETag of the cache's copy, "" if there is none.
func storedTag(path, tag string) string {
	data, err := os.ReadFile(tag)
	if err != nil || len(data) > 1000 || strings.ContainsAny(string(data), "\r\n") {
		return ""
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return string(data)
}

// smallFile is a file as it came.
type smallFile struct {
	data []byte
	tag  string
}

// small asks for a whole file, unless it is still the one with the tag: then it returns nil.
func (c *client) small(ctx context.Context, name, tag string) (*smallFile, error) {
	ctx, alive, stop := c.watch(ctx)
	defer stop()
	header := http.Header{}
	if tag != "" {
		header.Set("If-None-Match", tag)
	}
	a, err := c.get(ctx, name, header)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	switch {
	case a.StatusCode == http.StatusNotModified && tag != "":
		return nil, nil
	case a.StatusCode != http.StatusOK:
		return nil, refuse("answers with status %d", a.StatusCode)
	case a.ContentLength > maxSmallBytes:
		return nil, refuse("has %d bytes, more than the limit of %d", a.ContentLength, maxSmallBytes)
	}
	data, err := io.ReadAll(io.LimitReader(&aliveReader{a.Body, alive}, maxSmallBytes+1))
	if err != nil {
		return nil, bodyError(ctx, err)
	}
	if len(data) > maxSmallBytes {
		return nil, refuse("has more than the limit of %d bytes", maxSmallBytes)
	}
	sum := sha256.Sum256(data)
	m := sha256Tag.FindStringSubmatch(cmp.Or(a.linked, a.Header.Get("ETag")))
	if m != nil && m[1] != hex.EncodeToString(sum[:]) {
		return nil, errChecksum
	}
	return &smallFile{data, a.Header.Get("ETag")}, nil
}

// errChecksum is temporary: bytes may have been damaged on their way.
var errChecksum = errors.New("the SHA-256 is not the one that the origin tells")

// aliveReader tells that bytes arrive.
type aliveReader struct {
	io.Reader
	alive func()
}

// Read implements io.Reader.
func (r *aliveReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.alive()
	return n, err
}
