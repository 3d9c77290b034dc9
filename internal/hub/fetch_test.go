package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const mib = 1 << 20

func TestFetchReadsOnlyWhatIsWanted(t *testing.T) {
	o := newOrigin(t, 40*mib)
	m := o.open(t, o.config(t.TempDir()))
	var told int64
	wanted := []span{{100, 200}, {5 * mib, 6 * mib}, {6*mib + 1000, 6*mib + 2000}, {10 * mib, 35 * mib}}
	if err := m.Fetch(t.Context(), ranges(wanted...), func(n int64) { told += n }); err != nil {
		t.Fatal(err)
	}
	o.mustHold(t, m, wanted...)
	const want = 8 + 100 + mib + 2000 + 25*mib // the prefix, and a gap that is not worth a request
	if got := o.bodyBytes.Load(); got != want {
		t.Errorf("%d bytes were read, want %d", got, want)
	}
	const wantTold = 100 + mib + 1000 + 25*mib // not the gap
	if told != wantTold {
		t.Errorf("progress told of %d bytes, want %d", told, wantTold)
	}
	requests := o.requests.Load()
	o.mustHold(t, m, wanted...)
	if o.requests.Load() != requests {
		t.Error("what is present was asked for again")
	}
	if m.Present(ranges(span{0, mib})[0]) {
		t.Error("a range is present that nobody asked for")
	}
}

// A server that fails every other time, cuts bodies and is slow is only slower.
func TestFlakyOrigin(t *testing.T) {
	o := newOrigin(t, 4*mib)
	var n atomic.Int64
	o.onWeights(func(w http.ResponseWriter, r *http.Request) bool {
		switch n.Add(1) % 5 {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		case 3:
			panic(http.ErrAbortHandler) // the connection breaks
		case 4:
			o.serve(&cuttingWriter{ResponseWriter: w, left: 100_000}, r)
		default:
			return false
		}
		return true
	})
	m := o.open(t, o.config(t.TempDir()))
	o.mustHold(t, m, span{1000, 3 * mib})
	if got := o.bodyBytes.Load(); got > 4*mib {
		t.Errorf("%d bytes were read for 3 MiB: a try began anew", got)
	}
}

// cuttingWriter breaks the connection after some bytes.
type cuttingWriter struct {
	http.ResponseWriter
	left int
}

func (w *cuttingWriter) Write(p []byte) (int, error) {
	if len(p) < w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	_, _ = w.ResponseWriter.Write(p[:w.left]) // it is about to break
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

func TestStalledConnectionIsGivenUp(t *testing.T) {
	o := newOrigin(t, mib)
	var n atomic.Int64
	o.onWeights(func(w http.ResponseWriter, r *http.Request) bool {
		if n.Add(1) != 2 {
			return false
		}
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 100-199/%d", mib))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(o.data(span{100, 110}))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	cfg := o.config(t.TempDir())
	cfg.pace.stall = 50 * time.Millisecond
	m := o.open(t, cfg)
	o.mustHold(t, m, span{100, 200})
}

// What a lying or changing server says is refused, and says why.
func TestBadAnswers(t *testing.T) {
	partial := func(w http.ResponseWriter, contentRange, tag string, body int) {
		w.Header().Set("Content-Range", contentRange)
		w.Header().Set("ETag", tag)
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(w, strings.Repeat("x", body))
	}
	size := fmt.Sprint(mib)
	for _, c := range []struct {
		name, want string
		answer     func(o *origin, w http.ResponseWriter, r *http.Request)
	}{
		{"no ranges", "does not answer Range requests", func(o *origin, w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			o.serve(w, r)
		}},
		{"another range", "asked for were [1000, 2000)", func(_ *origin, w http.ResponseWriter, _ *http.Request) {
			partial(w, "bytes 1001-2000/"+size, `"v1"`, 1000)
		}},
		{"a longer range", "asked for were [1000, 2000)", func(_ *origin, w http.ResponseWriter, _ *http.Request) {
			partial(w, "bytes 1000-2000/"+size, `"v1"`, 1001)
		}},
		{"another size", "has changed at its origin", func(_ *origin, w http.ResponseWriter, _ *http.Request) {
			partial(w, "bytes 1000-1999/999999", `"v1"`, 1000)
		}},
		{"no size", "want bytes FIRST-LAST/SIZE", func(_ *origin, w http.ResponseWriter, _ *http.Request) {
			partial(w, "bytes 1000-1999/*", `"v1"`, 1000)
		}},
		{"no range", "want bytes FIRST-LAST/SIZE", func(_ *origin, w http.ResponseWriter, _ *http.Request) {
			partial(w, "", `"v1"`, 1000)
		}},
		{"another tag", "has changed at its origin", func(_ *origin, w http.ResponseWriter, _ *http.Request) {
			partial(w, "bytes 1000-1999/"+size, `"v2"`, 1000)
		}},
		{"lying length", "announces 5000 bytes for a range of 1000", func(_ *origin, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			partial(w, "bytes 1000-1999/"+size, `"v1"`, 5000)
		}},
		{"compressed", "Content-Encoding", func(_ *origin, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			partial(w, "bytes 1000-1999/"+size, `"v1"`, 1000)
		}},
		{"unauthorized", "see --hub-token", func(_ *origin, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
		}},
		{"always busy", "gave up after", func(_ *origin, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOrigin(t, mib)
			m := o.open(t, o.config(t.TempDir()))
			o.mustHold(t, m, span{0, 8})
			o.onWeights(func(w http.ResponseWriter, r *http.Request) bool {
				c.answer(o, w, r)
				return true
			})
			err := m.Fetch(t.Context(), ranges(span{1000, 2000}), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if !strings.Contains(err.Error(), weightsName) || strings.Contains(err.Error(), "http://") {
				t.Errorf("error %q: want the file's name and no address", err)
			}
			if m.Present(ranges(span{1000, 1001})[0]) {
				t.Error("refused bytes are present")
			}
		})
	}
}

// An endless body is not read to its end.
func TestEndlessBody(t *testing.T) {
	o := newOrigin(t, mib)
	m := o.open(t, o.config(t.TempDir()))
	o.mustHold(t, m, span{0, 8})
	o.onWeights(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 1000-1999/%d", mib))
		w.Header().Set("ETag", `"v1"`)
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(o.data(span{1000, 2000}))
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				break
			}
		}
		return true
	})
	o.mustHold(t, m, span{1000, 2000})
	o.set(func(w http.ResponseWriter, r *http.Request) bool {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				break
			}
		}
		return true
	})
	if _, err := Open(t.Context(), o.config(t.TempDir()), "config.json"); err == nil ||
		!strings.Contains(err.Error(), "more than the limit") {
		t.Errorf("an endless config.json: %v", err)
	}
}

// A server that redirects to storage gets the token; the storage does not, and what the hub says of
// the file counts, not what the storage does.
func TestRedirectToStorage(t *testing.T) {
	t.Run("at once", func(t *testing.T) { redirectToStorage(t, false) })
	t.Run("by the new name", func(t *testing.T) { redirectToStorage(t, true) })
}

func redirectToStorage(t *testing.T, renamed bool) {
	o := newOrigin(t, mib)
	var leaked, opened atomic.Int64
	var changes atomic.Int64
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			leaked.Add(1)
		}
		w.Header().Set("ETag", fmt.Sprintf(`"storage-%d"`, changes.Add(1)))
		o.mu.Lock()
		data := o.files[path.Base(r.URL.Path)]
		o.mu.Unlock()
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
	}))
	t.Cleanup(storage.Close)
	linked := sha(o.data(span{0, mib}))
	o.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer secret" {
			opened.Add(1)
		}
		if renamed && r.URL.RawQuery == "" {
			http.Redirect(w, r, r.URL.Path+"?renamed", http.StatusTemporaryRedirect)
			return true
		}
		if path.Base(r.URL.Path) == weightsName {
			w.Header().Set("X-Linked-Etag", `"`+linked+`"`)
		}
		http.Redirect(w, r, storage.URL+"/signed/"+path.Base(r.URL.Path), http.StatusFound)
		return true
	})
	cfg := o.config(t.TempDir())
	cfg.Token = "secret"
	m := o.open(t, cfg)
	o.mustHold(t, m, span{5000, 6000}, span{mib - 10, mib}, span{0, mib})
	if leaked.Load() != 0 || opened.Load() == 0 {
		t.Errorf("the token was shown %d times to the storage, %d times to the hub",
			leaked.Load(), opened.Load())
	}
	if f := m.file(weightsName); !f.have.Checked {
		t.Error("the whole file was not compared with its SHA-256")
	}
}

func TestChecksumOfWholeFiles(t *testing.T) {
	o := newOrigin(t, mib)
	wrong := sha([]byte("another"))
	o.change(weightsName, `"`+wrong+`"`, o.data(span{0, mib}))
	m := o.open(t, o.config(t.TempDir()))
	o.mustHold(t, m, span{100, 200}) // a part cannot be checked
	err := m.Fetch(t.Context(), ranges(span{0, mib}), nil)
	if !errors.Is(err, errChecksum) {
		t.Fatalf("error %v, want one of the checksum", err)
	}
	if m.Present(ranges(span{100, 200})[0]) {
		t.Error("bytes of a damaged file are present")
	}
	o.change("config.json", `"`+wrong+`"`, []byte("{}"))
	if _, err := Open(t.Context(), o.config(t.TempDir()), "config.json"); !errors.Is(err, errChecksum) {
		t.Errorf("a damaged small file: %v", err)
	}
}

func TestMissingFiles(t *testing.T) {
	o := newOrigin(t, mib)
	m := o.open(t, o.config(t.TempDir()))
	if _, err := m.Paths(t.Context(), weightsName, "other.safetensors"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing weight file: %v", err)
	}
	cfg := o.config(t.TempDir())
	if _, err := Open(t.Context(), cfg, "absent.json"); err == nil ||
		!strings.Contains(err.Error(), "there is no absent.json at") {
		t.Errorf("a missing config: %v", err)
	}
	for _, name := range []string{"../x", "a/b", "", "a@b", ".hidden"} {
		if _, err := m.Paths(t.Context(), name); err == nil {
			t.Errorf("%q is taken as the name of a file", name)
		}
	}
}

func TestCancelledFetchEnds(t *testing.T) {
	o := newOrigin(t, mib)
	m := o.open(t, o.config(t.TempDir()))
	o.mustHold(t, m, span{0, 8})
	ctx, cancel := context.WithCancel(t.Context())
	o.onWeights(func(_ http.ResponseWriter, r *http.Request) bool {
		cancel()
		<-r.Context().Done()
		return true
	})
	if err := m.Fetch(ctx, ranges(span{100, 200}), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func BenchmarkFetch(b *testing.B) {
	const size = 64 * mib
	o := newOrigin(b, size)
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		m := o.open(b, o.config(b.TempDir()))
		b.StartTimer()
		if err := m.Fetch(b.Context(), ranges(span{0, size}), nil); err != nil {
			b.Fatal(err)
		}
	}
}
