package safetensors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lazySource copies ranges from one folder into sparse files in another.
type lazySource struct {
	from, to string
	have     []Range
}

func (s *lazySource) Paths(_ context.Context, names ...string) ([]string, error) {
	var paths []string
	for _, name := range names {
		info, err := os.Stat(filepath.Join(s.from, name))
		if err != nil {
			return nil, fmt.Errorf("origin: %w", err)
		}
		path := filepath.Join(s.to, name)
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(f.Truncate(info.Size()), f.Close()); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func (s *lazySource) Fetch(_ context.Context, ranges []Range, _ func(int64)) error {
	for _, r := range ranges {
		data, err := os.ReadFile(filepath.Join(s.from, r.File))
		if err != nil {
			return err
		}
		f, err := os.OpenFile(filepath.Join(s.to, r.File), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(data[r.Begin:r.End], r.Begin)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		s.have = append(s.have, r)
	}
	return nil
}

func (s *lazySource) Present(r Range) bool { return slices.Contains(s.have, r) }

func TestOpenFromSource(t *testing.T) {
	dir := sharded(t, `{"weight_map":
		{"a":"one.safetensors","b":"two.safetensors","both":"two.safetensors"}}`)
	whole, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = whole.Close() })
	source := &lazySource{from: dir, to: t.TempDir()}
	ck, err := OpenFrom(t.Context(), dir, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ck.Close() })
	if !whole.Whole() || ck.Whole() {
		t.Error("a folder is whole, what comes from elsewhere is not")
	}
	if len(source.have) != 4 { // of both files the length, and then the header
		t.Errorf("opening has fetched %v", source.have)
	}
	b, _ := ck.Tensor("b")
	r := Range{b.File, b.Offset, b.Offset + int64(len(b.Data))}
	if err := ck.Require(r); !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "two.safetensors") {
		t.Errorf("a range that was not fetched: %v", err)
	}
	if err := ck.Fetch(t.Context(), []Range{r}, nil); err != nil {
		t.Fatal(err)
	}
	want, _ := whole.Tensor("b")
	if err := ck.Require(r); err != nil || !bytes.Equal(b.Data, want.Data) {
		t.Errorf("after the fetch: %v, %v", b.Data, err)
	}
	if err := errors.Join(whole.Require(r), whole.Fetch(t.Context(), []Range{r}, nil)); err != nil {
		t.Error(err)
	}
}

func TestOpenFromBrokenSource(t *testing.T) {
	dir := sharded(t, `{"weight_map":{"a":"one.safetensors","c":"three.safetensors"}}`)
	source := &lazySource{from: dir, to: t.TempDir()}
	if _, err := OpenFrom(t.Context(), dir, source); !errors.Is(err, fs.ErrNotExist) ||
		!strings.Contains(err.Error(), "three.safetensors") {
		t.Errorf("a missing shard: %v", err)
	}
	if _, err := OpenFrom(t.Context(), t.TempDir(), source); !errors.Is(err, ErrNoWeights) {
		t.Errorf("neither index nor single file: %v", err)
	}
}
