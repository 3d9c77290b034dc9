package hub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/safetensors"
)

// testMirror has a part of a file, and ends with an error behind it.
type testMirror struct {
	data  []byte
	has   span
	calls atomic.Int64
}

var errHasNoMore = errors.New("has no more")

func (m *testMirror) Read(_ context.Context, r safetensors.Range, piece func([]byte) error) error {
	m.calls.Add(1)
	for r.Begin < r.End {
		end := min(r.End, r.Begin+100_000, m.has.end)
		if r.Begin < m.has.begin || end <= r.Begin {
			return errHasNoMore
		}
		if err := piece(m.data[r.Begin:end]); err != nil {
			return err
		}
		r.Begin = end
	}
	return nil
}

// What a mirror has comes from it, the rest from the origin, and each byte is told once.
func TestFetchFromMirror(t *testing.T) {
	o := newOrigin(t, 40*mib)
	m := o.open(t, o.config(t.TempDir()))
	mirror := &testMirror{data: o.files[weightsName], has: span{2 * mib, 30*mib + 5}}
	m.UseMirror(mirror)
	wanted := []span{{mib, 3 * mib}, {3*mib + 1000, 20 * mib}, {25 * mib, 35 * mib}}
	var told int64
	if err := m.Fetch(t.Context(), ranges(wanted...), func(n int64) { told += n }); err != nil {
		t.Fatal(err)
	}
	o.mustHold(t, m, wanted...)
	if want := spans(wanted).bytes(); told != want {
		t.Errorf("progress told of %d bytes, want %d", told, want)
	}
	origin, fromMirror := m.BytesRead()
	if origin+fromMirror < told || fromMirror < 15*mib || o.bodyBytes.Load() != origin+8 {
		t.Errorf("%d bytes came from the origin, which sent %d, and %d from the mirror", origin,
			o.bodyBytes.Load(), fromMirror)
	}
}

// A mirror that has everything serves also while the origin fails.
func TestMirrorWithoutOrigin(t *testing.T) {
	o := newOrigin(t, 4*mib)
	m := o.open(t, o.config(t.TempDir()))
	if _, err := m.Paths(t.Context(), weightsName); err != nil {
		t.Fatal(err)
	}
	m.UseMirror(&testMirror{data: o.files[weightsName], has: span{0, 4 * mib}})
	o.onWeights(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	if err := m.Fetch(t.Context(), ranges(span{mib, 3 * mib}), nil); err != nil {
		t.Fatal(err)
	}
	o.mustHold(t, m, span{mib, 3 * mib})
}

// longMirror sends more than it is asked for.
type longMirror struct{}

func (longMirror) Read(_ context.Context, r safetensors.Range, piece func([]byte) error) error {
	return piece(make([]byte, r.End-r.Begin+1))
}

func TestMirrorThatSendsTooMuch(t *testing.T) {
	o := newOrigin(t, mib)
	m := o.open(t, o.config(t.TempDir()))
	m.UseMirror(longMirror{})
	if err := m.Fetch(t.Context(), ranges(span{1000, 2000}), nil); err != nil {
		t.Fatal(err)
	}
	o.mustHold(t, m, span{1000, 2000})
}

// Rereading leaves the copy alone; replacing changes it.
func TestRereadAndReplace(t *testing.T) {
	o := newOrigin(t, 20*mib)
	m := o.open(t, o.config(t.TempDir()))
	if err := m.Fetch(t.Context(), ranges(span{100, 200}), nil); err != nil {
		t.Fatal(err)
	}
	r := safetensors.Range{File: weightsName, Begin: 50, End: 18 * mib}
	got, err := m.Reread(t.Context(), r)
	if err != nil || !bytes.Equal(got, o.files[weightsName][r.Begin:r.End]) || m.Present(r) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if err := m.Replace(r, got); err != nil || !m.Present(r) {
		t.Error(err)
	}
	o.mustHold(t, m, span{r.Begin, r.End})
	for _, bad := range []safetensors.Range{
		{File: "other", End: 1}, {File: weightsName, Begin: 2, End: 1},
		{File: weightsName, End: 1 << 40}, {File: weightsName, Begin: -1, End: 1},
	} {
		if _, err := m.Reread(t.Context(), bad); err == nil {
			t.Errorf("%v was read", bad)
		}
		if err := m.Replace(bad, nil); err == nil {
			t.Errorf("%v was replaced", bad)
		}
	}
}

// Where the origin sends a digest of its answer, damage on the way is found and read again.
func TestContentDigest(t *testing.T) {
	o := newOrigin(t, 20*mib)
	var damaged atomic.Int64
	o.onWeights(func(w http.ResponseWriter, r *http.Request) bool {
		rec := httptest.NewRecorder()
		o.serve(rec, r)
		body := rec.Body.Bytes()
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		sum := sha256.Sum256(body)
		w.Header().Set("Content-Digest",
			fmt.Sprintf("md5=:AAAA:, sha-256=:%s:", base64.StdEncoding.EncodeToString(sum[:])))
		if len(body) > 1000 && damaged.Add(1) <= 2 {
			body[len(body)/2] ^= 1
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body) // the client may be gone
		return true
	})
	cfg := o.config(t.TempDir())
	cfg.pace.fetch = 10 * time.Second // digests take their time under the race detector
	m := o.open(t, cfg)
	if err := m.Fetch(t.Context(), ranges(span{1000, 19 * mib}), nil); err != nil {
		t.Fatal(err)
	}
	o.mustHold(t, m, span{1000, 19 * mib})
	if damaged.Load() < 4 {
		t.Errorf("%d answers were sent", damaged.Load())
	}
}

func TestParseContentDigest(t *testing.T) {
	content := []byte("hello")
	sum := sha256.Sum256(content)
	right := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	for header, known := range map[string]bool{
		right: true, "md5=:AAAA:, " + right: true, "": false, "sha-256": false, "sha-256=AAAA": false,
		"sha-256=:!:": false, "unixsum=:AAAA:": false,
	} {
		d := contentDigest(http.Header{"Content-Digest": {header}})
		if (d != nil) != known || d.check(content) != nil {
			t.Errorf("%q: %v", header, d)
		}
		if known && !errors.Is(d.check([]byte("hallo")), errDigest) {
			t.Errorf("%q is content with other bytes", header)
		}
	}
}
