package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/conclave-serve/conclave/internal/safetensors"
)

// parallel is how many requests are on their way at once: enough to fill a line on which one
// connection is slowed by its distance.
const parallel = 8

// Config says which model to read, and where to keep what was read.
type Config struct {
	// URL is the model's folder, see ParseURL; CacheDir the cache, which several models and
	// processes may share. Both are required.
	URL, CacheDir string
	// CacheLimit bounds the bytes of weights in the cache; 0 means no bound. Files that no process
	// uses go first, those that were opened longest ago before others.
	CacheLimit int64
	// Token is shown to the URL's own host, as a bearer; "" for none.
	Token string
	// CAFile holds certificates in PEM that are trusted beside the system's.
	CAFile string
	// Proxy says by which proxy to make a request; nil for none.
	Proxy func(*http.Request) (*url.URL, error)
	Log   *slog.Logger

	pace pace // zero but in tests
}

// Model is a model at a URL and its cache. It may be used by several goroutines at once.
type Model struct {
	client *client
	log    *slog.Logger
	root   string // of the cache
	dir    string // the model's folder in it
	limit  int64
	// offline: the origin could not be reached, and the cache holds the model.
	offline bool
	mirror  safetensors.Mirror // nil if there is none

	fromOrigin, fromMirror atomic.Int64 // bytes of weights

	mu    sync.Mutex
	files map[string]*file
}

// Open reads the small files with these names, as far as they exist; of them the first must.
// Where the origin cannot be reached, and the cache has the first, the cache's copies serve.
func Open(ctx context.Context, cfg Config, names ...string) (*Model, error) {
	base, err := ParseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.CacheDir == "" {
		return nil, errors.New("hub: a cache folder is required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.pace == (pace{}) {
		cfg.pace = defaultPace()
	}
	sum := sha256.Sum256([]byte(base.String()))
	folder := notPlain.ReplaceAllString(ModelName(cfg.URL), "_") + "-" + hex.EncodeToString(sum[:6])
	m := &Model{
		log: cfg.Log, root: cfg.CacheDir, dir: filepath.Join(cfg.CacheDir, folder),
		limit: cfg.CacheLimit, files: map[string]*file{},
	}
	for _, sub := range []string{"files", "tags", "weights", "claims"} {
		if err := os.MkdirAll(filepath.Join(m.dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("make the cache: %w", diskError(err))
		}
	}
	if err := m.locked(m.sweep); err != nil {
		return nil, err
	}
	if m.client, err = newClient(cfg, base); err != nil {
		return nil, err
	}
	if err := m.readSmall(ctx, names); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// sweep removes what killed processes have left half written, under the lock of the cache.
func (m *Model) sweep() error {
	left, err := fs.Glob(os.DirFS(m.dir), "*/*"+partSuffix+"*")
	for _, name := range left {
		err = errors.Join(err, os.Remove(filepath.Join(m.dir, filepath.FromSlash(name))))
	}
	return err
}

// Dir is the folder of the small files.
func (m *Model) Dir() string { return filepath.Join(m.dir, "files") }

// readSmall brings the small files up to date.
func (m *Model) readSmall(ctx context.Context, names []string) error {
	for i, name := range names {
		if !plainName(name) {
			return fmt.Errorf("hub: %q is no plain name of a file", name)
		}
		if m.offline {
			return nil
		}
		exists, err := m.small(ctx, name)
		if err != nil && ctx.Err() == nil && m.mayGoOffline(name, err) {
			m.log.Warn("the model's origin cannot be reached; going on with what the cache has",
				"err", err)
			m.offline = true
			continue
		}
		if err != nil {
			return err
		}
		if i == 0 && !exists {
			return fmt.Errorf("there is no %s at %s: want the URL of a model's folder, "+
				"and a token where it needs one (--hub-token)", name, m.client.base.Redacted())
		}
	}
	return nil
}

// mayGoOffline tells whether the error of a small file is one that the cache can do without.
func (m *Model) mayGoOffline(name string, err error) bool {
	if !temporary(err) || errors.Is(err, errChecksum) {
		return false
	}
	_, missing := os.Stat(filepath.Join(m.Dir(), name))
	return missing == nil
}

// Paths implements safetensors.Source: it finds out what weight files are, and returns where their
// sparse copies are, in the order of names.
func (m *Model) Paths(ctx context.Context, names ...string) ([]string, error) {
	paths := make([]string, len(names))
	err := each(ctx, len(names), func(ctx context.Context, i int) error {
		f, err := m.open(ctx, names[i])
		if err == nil {
			paths[i] = f.path
		}
		return err
	})
	return paths, err
}

// open returns an opened weight file.
func (m *Model) open(ctx context.Context, name string) (*file, error) {
	if !plainName(name) {
		return nil, fmt.Errorf("hub: %q is no plain name of a file", name)
	}
	if f := m.file(name); f != nil {
		return f, nil
	}
	var is identity
	var prefix []byte
	var err error
	if m.offline {
		is, err = m.lastKnown(name)
	} else {
		err = m.client.retry(ctx, name, m.client.pace.open, func() (bool, error) {
			is, prefix, err = m.client.probe(ctx, name)
			return false, err
		})
	}
	if err != nil {
		return nil, err
	}
	f, err := m.openFile(name, is)
	if err != nil {
		return nil, err
	}
	if err := f.put(prefix); err != nil {
		return nil, errors.Join(err, f.close())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if first := m.files[name]; first != nil { // another goroutine was faster
		return first, f.close()
	}
	m.files[name] = f
	return f, nil
}

func (m *Model) file(name string) *file {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[name]
}

// lastKnown is the identity under which a weight file was last opened.
func (m *Model) lastKnown(name string) (identity, error) {
	found, err := fs.Glob(os.DirFS(m.dir), "weights/*@*"+recordSuffix)
	if err != nil {
		return identity{}, err
	}
	var last *record
	var newest int64
	for _, at := range found {
		path := filepath.Join(m.dir, filepath.FromSlash(at))
		info, err := os.Stat(path)
		if err != nil || nameOf(path) != name || info.ModTime().UnixNano() < newest {
			continue
		}
		if r, err := readRecord(path); err == nil {
			last, newest = r, info.ModTime().UnixNano()
		}
	}
	if last == nil {
		return identity{}, fmt.Errorf("%s: %w in the cache, and its origin cannot be reached",
			name, fs.ErrNotExist)
	}
	return last.identity, nil
}

// Close gives up the files. No Fetch may be running.
func (m *Model) Close() error {
	m.client.close()
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for name, f := range m.files {
		errs = append(errs, f.close())
		delete(m.files, name)
	}
	return errors.Join(errs...)
}

// each runs do for 0..n-1, some at once, until the first error.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, parallel) {
		wg.Go(func() {
			for i := range next {
				if ctx.Err() != nil {
					continue
				}
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}
