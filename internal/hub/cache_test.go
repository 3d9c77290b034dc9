package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// records lists the metadata files of a cache.
func records(t *testing.T, cache string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(cache, "*", "weights", "*"+recordSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A fetch that breaks half-way keeps what came; the next process asks for the rest only.
func TestResume(t *testing.T) {
	o := newOrigin(t, 40*mib)
	cache := t.TempDir()
	want := span{1000, 38 * mib}
	var left atomic.Int64
	left.Store(17 * mib)
	o.onWeights(func(w http.ResponseWriter, r *http.Request) bool {
		if left.Load() <= 0 {
			panic(http.ErrAbortHandler)
		}
		o.serve(&budgetWriter{w, &left}, r)
		return true
	})
	m := o.open(t, o.config(cache))
	if err := m.Fetch(t.Context(), ranges(want), nil); err == nil {
		t.Fatal("the fetch did not break")
	}
	had := m.file(weightsName).have.Present.bytes()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if had < 8*mib {
		t.Fatalf("only %d bytes came before the end", had)
	}
	o.set(nil)
	o.bodyBytes.Store(0)
	again := o.open(t, o.config(cache))
	o.mustHold(t, again, want)
	if got, most := o.bodyBytes.Load(), want.end-had+2*8; got > most {
		t.Errorf("%d bytes were read, of which at most %d were missing", got, most)
	}
}

// budgetWriter breaks connections once all of them have written so much.
type budgetWriter struct {
	http.ResponseWriter
	left *atomic.Int64
}

func (w *budgetWriter) Write(p []byte) (int, error) {
	if w.left.Add(-int64(len(p))) < 0 {
		panic(http.ErrAbortHandler)
	}
	return w.ResponseWriter.Write(p)
}

// Metadata that is damaged, or gone, or not of this file makes nothing present.
func TestBrokenMetadata(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"a flipped digit": func(path string) error {
			data, err := os.ReadFile(path)
			at := strings.LastIndexAny(string(data), "0123456789")
			data[at] ^= 1
			return errors.Join(err, os.WriteFile(path, data, 0o644))
		},
		"cut":   func(path string) error { return os.Truncate(path, 100) },
		"empty": func(path string) error { return os.Truncate(path, 0) },
		"huge":  func(path string) error { return os.Truncate(path, maxRecordBytes+1) },
		"gone":  os.Remove,
		"data is gone": func(path string) error {
			return os.Remove(strings.TrimSuffix(path, recordSuffix))
		},
		"data is cut": func(path string) error {
			return os.Truncate(strings.TrimSuffix(path, recordSuffix), 1500)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, mib)
			cache := t.TempDir()
			m := o.open(t, o.config(cache))
			o.mustHold(t, m, span{1000, 2000})
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			if err := damage(records(t, cache)[0]); err != nil {
				t.Fatal(err)
			}
			again := o.open(t, o.config(cache))
			if _, err := again.Paths(t.Context(), weightsName); err != nil {
				t.Fatal(err)
			}
			if again.Present(ranges(span{1000, 2000})[0]) {
				t.Error("the range is present")
			}
			o.mustHold(t, again, span{1000, 2000})
		})
	}
}

// Two processes on one cache find each other's ranges, also while both are running.
func TestSharedCache(t *testing.T) {
	o := newOrigin(t, 8*mib)
	cache := t.TempDir()
	a, b := o.open(t, o.config(cache)), o.open(t, o.config(cache))
	o.mustHold(t, a, span{0, mib})
	o.mustHold(t, b, span{4 * mib, 5 * mib})
	before := o.bodyBytes.Load()
	o.mustHold(t, b, span{0, mib})
	o.mustHold(t, a, span{4 * mib, 5 * mib})
	if got := o.bodyBytes.Load() - before; got != 0 {
		t.Errorf("%d bytes were read again", got)
	}
	var wg sync.WaitGroup
	for i := range 16 {
		m := []*Model{a, b}[i%2]
		wg.Go(func() {
			at := int64(i) * 500_000
			if err := m.Fetch(t.Context(), ranges(span{at, at + 400_000}), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c := o.open(t, o.config(cache))
	if _, err := c.Paths(t.Context(), weightsName); err != nil {
		t.Fatal(err)
	}
	for i := range int64(16) {
		if at := i * 500_000; !c.Present(ranges(span{at, at + 400_000})[0]) {
			t.Errorf("what was fetched at %d was not noted", at)
		}
	}
}

// Processes that want the same at the same moment read it once.
func TestSameMoment(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("claims need Linux: elsewhere both read")
	}
	const size = 24 * mib
	o := newOrigin(t, size)
	cache := t.TempDir()
	var wg sync.WaitGroup
	for range 3 {
		m := o.open(t, o.config(cache))
		wg.Go(func() {
			if err := m.Fetch(t.Context(), ranges(span{0, size}), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := o.bodyBytes.Load(); got > size+3*8 {
		t.Errorf("%d bytes were read of a file of %d", got, size)
	}
	o.mustHold(t, o.open(t, o.config(cache)), span{0, size})
}

// A model that changes at its origin is read anew; who has the old one open keeps it.
func TestChangedBetweenRuns(t *testing.T) {
	o := newOrigin(t, mib)
	cache := t.TempDir()
	old := o.open(t, o.config(cache))
	o.mustHold(t, old, span{1000, 2000})
	before := append([]byte(nil), o.data(span{1000, 2000})...)
	o.change(weightsName, `"v2"`, make([]byte, mib))
	o.change("config.json", `"c2"`, []byte(`{"a":2}`))
	m := o.open(t, o.config(cache))
	o.mustHold(t, m, span{1000, 2000})
	if data, err := os.ReadFile(filepath.Join(m.Dir(), "config.json")); string(data) != `{"a":2}` {
		t.Errorf("config.json is %q, %v", data, err)
	}
	kept := make([]byte, 1000)
	if _, err := old.file(weightsName).data.ReadAt(kept, 1000); err != nil || string(kept) != string(before) {
		t.Errorf("the old file has changed, %v", err)
	}
}

// Small files are asked for by their tags, and go when the origin has them no more.
func TestSmallFiles(t *testing.T) {
	o := newOrigin(t, mib)
	cache := t.TempDir()
	o.change("tokenizer.json", `"t1"`, []byte(`{}`))
	open := func() *Model {
		t.Helper()
		m, err := Open(t.Context(), o.config(cache), "config.json", "tokenizer.json", "absent.json")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		return m
	}
	m := open()
	path := filepath.Join(m.Dir(), "tokenizer.json")
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	notModified := 0
	o.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("If-None-Match") != "" {
			notModified++
		}
		return false
	})
	open()
	if notModified != 2 {
		t.Errorf("%d files were asked for by their tags, want 2", notModified)
	}
	o.set(nil)
	o.mu.Lock()
	delete(o.files, "tokenizer.json")
	o.mu.Unlock()
	open()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone at its origin: %v", err)
	}
}

// A process starts again while the origin is away, if the cache has what it needs.
func TestOffline(t *testing.T) {
	o := newOrigin(t, mib)
	cache := t.TempDir()
	m := o.open(t, o.config(cache))
	o.mustHold(t, m, span{1000, 2000})
	o.set(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	again := o.open(t, o.config(cache))
	o.mustHold(t, again, span{1000, 2000})
	if err := again.Fetch(t.Context(), ranges(span{3000, 4000}), nil); err == nil {
		t.Error("a range that is nowhere was fetched")
	}
	if _, err := Open(t.Context(), o.config(t.TempDir()), "config.json"); err == nil {
		t.Error("an empty cache serves a model whose origin is away")
	}
}

func TestCacheLimit(t *testing.T) {
	o := newOrigin(t, 8*mib)
	cache := filepath.Join(t.TempDir(), "[big] disk")
	cfg := o.config(cache)
	cfg.CacheLimit = 5 * mib
	// Somebody keeps other things there, too.
	foreign := filepath.Join(cache, "gym", "weights", "bench@home.txt")
	if err := os.MkdirAll(filepath.Dir(foreign), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(foreign, make([]byte, 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-1000 * time.Hour)
	if err := os.Chtimes(foreign, old, old); err != nil {
		t.Fatal(err)
	}
	fill := func(folder string) *Model {
		t.Helper()
		cfg.URL = o.URL + "/" + folder
		m := o.open(t, cfg)
		o.mustHold(t, m, span{0, 2 * mib})
		return m
	}
	a := fill("a")
	b := fill("b")
	now := time.Now()
	for i, m := range []*Model{a, b} { // a was used last
		used := now.Add(time.Duration(-i-1) * time.Hour)
		if err := os.Chtimes(m.file(weightsName).path+recordSuffix, used, used); err != nil {
			t.Fatal(err)
		}
	}
	cfg.URL = o.URL + "/c"
	c := o.open(t, cfg)
	err := c.Fetch(t.Context(), ranges(span{0, 2 * mib}), nil)
	if err == nil || !strings.Contains(err.Error(), "raise --cache-limit") {
		t.Fatalf("with every file in use: %v", err)
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	o.mustHold(t, c, span{0, 2 * mib})
	for folder, want := range map[string]bool{"a": true, "b": false, "c": true} {
		found, _ := fs.Glob(os.DirFS(cache), folder+"-*/weights/*@*") // well-formed
		if (len(found) == 2) != want || !want && len(found) != 0 {
			t.Errorf("of model %s the cache has %q", folder, found)
		}
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("a file that is not the cache's was deleted: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	err := diskError(fmt.Errorf("write: %w", syscall.ENOSPC))
	if !strings.Contains(err.Error(), "--cache-dir") || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %q", err)
	}
	if other := errors.New("x"); !errors.Is(diskError(other), other) {
		t.Error("another error is taken for a full disk")
	}
}

// What a killed process has left half written goes.
func TestSweep(t *testing.T) {
	o := newOrigin(t, mib)
	cache := t.TempDir()
	m := o.open(t, o.config(cache))
	left := filepath.Join(m.dir, "weights", "x"+recordSuffix+partSuffix+"123")
	if err := os.WriteFile(left, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.open(t, o.config(cache))
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", left, err)
	}
}

// A process that was killed between the last byte and the check leaves a whole file
// that nobody has checked: the next one does.
func TestWholeFileIsCheckedLater(t *testing.T) {
	o := newOrigin(t, mib)
	o.change(weightsName, `"`+sha([]byte("another"))+`"`, o.data(span{0, mib}))
	cache := t.TempDir()
	killed := o.open(t, o.config(cache))
	if _, err := killed.Paths(t.Context(), weightsName); err != nil {
		t.Fatal(err)
	}
	f := killed.file(weightsName)
	if _, err := f.data.WriteAt(o.data(span{0, mib}), 0); err != nil {
		t.Fatal(err)
	}
	f.add(span{0, mib})
	if err := errors.Join(f.commit(), killed.Close()); err != nil {
		t.Fatal(err)
	}
	m := o.open(t, o.config(cache))
	if err := m.Fetch(t.Context(), ranges(span{1000, 2000}), nil); !errors.Is(err, errChecksum) {
		t.Errorf("error %v, want one of the checksum", err)
	}
}

// Somebody empties the cache under a process that reads: it goes on, but neither takes
// the other's bytes for its own: they would be zeros.
func TestCacheIsDeletedUnderAReader(t *testing.T) {
	o := newOrigin(t, 8*mib)
	cache := t.TempDir()
	m := o.open(t, o.config(cache))
	o.mustHold(t, m, span{0, mib})
	path := m.file(weightsName).path
	if err := errors.Join(os.Remove(path), os.Remove(path+recordSuffix)); err != nil {
		t.Fatal(err)
	}
	next := o.open(t, o.config(cache))
	o.mustHold(t, next, span{4 * mib, 5 * mib})
	o.mustHold(t, m, span{2 * mib, 3 * mib}, span{4 * mib, 5 * mib})
	o.mustHold(t, next, span{0, mib}, span{2 * mib, 3 * mib})
	o.mustHold(t, o.open(t, o.config(cache)), span{0, mib}, span{2 * mib, 3 * mib})
}
