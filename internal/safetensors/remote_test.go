package safetensors

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// spoiledRemote is a lazySource whose copies are damaged once, as they are made.
type spoiledRemote struct {
	lazySource
	file    string
	at      int64
	spoiled bool
	reread  int
}

func (s *spoiledRemote) Fetch(ctx context.Context, ranges []Range, told func(int64)) error {
	if err := s.lazySource.Fetch(ctx, ranges, told); err != nil {
		return err
	}
	for _, r := range ranges {
		if r.File == s.file && r.Begin <= s.at && s.at < r.End && !s.spoiled {
			s.spoiled = true
			data, err := os.ReadFile(filepath.Join(s.from, r.File))
			if err != nil {
				return err
			}
			return s.Replace(Range{r.File, s.at, s.at + 1}, []byte{data[s.at] ^ 1})
		}
	}
	return nil
}

// The second time a range counts as present, and is not read again.
func (s *spoiledRemote) again() *cachedRemote { return &cachedRemote{s} }

func (s *spoiledRemote) Reread(_ context.Context, r Range) ([]byte, error) {
	s.reread++
	data, err := os.ReadFile(filepath.Join(s.from, r.File))
	if err != nil {
		return nil, err
	}
	return data[r.Begin:r.End], nil
}

func (s *spoiledRemote) Replace(r Range, data []byte) error {
	f, err := os.OpenFile(filepath.Join(s.to, r.File), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(data, r.Begin)
	return err
}

func (s *spoiledRemote) UseMirror(Mirror) {}

func (s *spoiledRemote) BytesRead() (origin, mirror int64) { return 0, 0 }

// cachedRemote has fetched what it ever will.
type cachedRemote struct{ *spoiledRemote }

func (s *cachedRemote) Fetch(_ context.Context, ranges []Range, _ func(int64)) error {
	s.have = append(s.have, ranges...)
	return nil
}

// A header that was damaged on its way is read again: at once, or from a cache that keeps it.
func TestDamagedHeaderIsReadAgain(t *testing.T) {
	dir := sharded(t, `{"weight_map":
		{"a":"one.safetensors","b":"two.safetensors","both":"two.safetensors"}}`)
	for what, at := range map[string]int64{
		"its length": 1, "its syntax": 8, "a tensor's name": 10,
	} {
		source := &spoiledRemote{
			lazySource: lazySource{from: dir, to: t.TempDir()}, file: "two.safetensors", at: at,
		}
		ck, err := OpenFrom(t.Context(), dir, source)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if _, there := ck.Tensor("b"); !there || !source.spoiled || source.reread == 0 {
			t.Errorf("%s: tensor b is there: %v; spoiled: %v, read again %d times",
				what, there, source.spoiled, source.reread)
		}
		_ = ck.Close()
		if ck, err = OpenFrom(t.Context(), dir, source.again()); err != nil {
			t.Errorf("%s, from the cache: %v", what, err)
			continue
		}
		_ = ck.Close()
	}
}

// A header that is as wrong at its origin is told of, and read again once.
func TestWrongHeaderAtTheOrigin(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	if err := os.WriteFile(path, []byte("\x04\x00\x00\x00\x00\x00\x00\x00{{{{"), 0o600); err != nil {
		t.Fatal(err)
	}
	source := &spoiledRemote{lazySource: lazySource{from: dir, to: t.TempDir()}}
	_, err := OpenFrom(t.Context(), dir, source)
	if err == nil || !strings.Contains(err.Error(), "model.safetensors") || source.reread != 2 {
		t.Errorf("%v, read again %d times, want the length and the header once", err, source.reread)
	}
}
