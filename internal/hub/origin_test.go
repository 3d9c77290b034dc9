package hub

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/conclave-serve/conclave/internal/safetensors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const weightsName = "model.safetensors"

// quick is a pace at which tests do not wait.
func quick() pace {
	return pace{
		first: time.Millisecond, most: 4 * time.Millisecond, stall: 5 * time.Second,
		open: 200 * time.Millisecond, fetch: 500 * time.Millisecond,
	}
}

// origin is a server of a model's folder, which tests make misbehave.
type origin struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	tags  map[string]string
	// spoil, if not nil, may answer a request in its place.
	spoil func(w http.ResponseWriter, r *http.Request) bool

	bodyBytes atomic.Int64 // of all answers for weights
	requests  atomic.Int64
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// newOrigin serves a config.json and a weight file of random bytes, under /org/model/.
func newOrigin(t testing.TB, weightBytes int) *origin {
	t.Helper()
	weights := make([]byte, weightBytes)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(weights) // it never fails
	o := &origin{
		files: map[string][]byte{"config.json": []byte(`{"a":1}`), weightsName: weights},
		tags:  map[string]string{weightsName: `"v1"`, "config.json": `"c1"`},
	}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

func (o *origin) model() string { return o.URL + "/org/model/" }

// ServeHTTP implements http.Handler.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.requests.Add(1)
	o.mu.Lock()
	spoil := o.spoil
	o.mu.Unlock()
	if spoil != nil && spoil(w, r) {
		return
	}
	o.serve(w, r)
}

// serve answers as a good server does.
func (o *origin) serve(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	o.mu.Lock()
	data, ok := o.files[name]
	tag := o.tags[name]
	o.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	if tag != "" {
		w.Header().Set("ETag", tag)
	}
	if name == weightsName {
		w = &countingWriter{w, &o.bodyBytes}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n.Add(int64(n))
	return n, err
}

// onWeights makes weights, and only them, answer by f.
func (o *origin) onWeights(f func(w http.ResponseWriter, r *http.Request) bool) {
	o.set(func(w http.ResponseWriter, r *http.Request) bool {
		return path.Base(r.URL.Path) == weightsName && f(w, r)
	})
}

func (o *origin) set(f func(w http.ResponseWriter, r *http.Request) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spoil = f
}

// change replaces a file and its tag.
func (o *origin) change(name, tag string, data []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files[name], o.tags[name] = data, tag
}

func (o *origin) data(s span) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.files[weightsName][s.begin:s.end]
}

// config is that of a model at the origin.
func (o *origin) config(cache string) Config {
	return Config{
		URL: o.model(), CacheDir: cache, Log: slog.New(slog.DiscardHandler), pace: quick(),
	}
}

// open opens the model, and closes it at the end of the test.
func (o *origin) open(t testing.TB, cfg Config) *Model {
	t.Helper()
	m, err := Open(t.Context(), cfg, "config.json")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// ranges are those of the weight file.
func ranges(list ...span) []safetensors.Range {
	var out []safetensors.Range
	for _, s := range list {
		out = append(out, safetensors.Range{File: weightsName, Begin: s.begin, End: s.end})
	}
	return out
}

// mustHold fetches spans and compares them with the origin's bytes.
func (o *origin) mustHold(t *testing.T, m *Model, list ...span) {
	t.Helper()
	if err := m.Fetch(t.Context(), ranges(list...), nil); err != nil {
		t.Fatal(err)
	}
	f := m.file(weightsName)
	for _, s := range list {
		got := make([]byte, s.bytes())
		if _, err := f.data.ReadAt(got, s.begin); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, o.data(s)) {
			t.Errorf("bytes [%d, %d) differ from the origin's", s.begin, s.end)
		}
		if !m.Present(ranges(s)[0]) {
			t.Errorf("bytes [%d, %d) are not present", s.begin, s.end)
		}
	}
}
