package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-serve/conclave/internal/hub"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/internal/synth"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// fileServer serves a checkpoint by HTTP, with an ETag for each file, and counts the bytes of its
// weights that it sends.
type fileServer struct {
	*httptest.Server
	mu    sync.Mutex
	bytes int64
}

func serveFiles(t *testing.T, dir string) *fileServer {
	t.Helper()
	s := &fileServer{}
	files := http.FileServer(http.Dir(dir))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, err := os.Stat(filepath.Join(dir, filepath.Base(r.URL.Path))); err == nil {
			w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
		}
		if strings.HasSuffix(r.URL.Path, ".safetensors") {
			w = &sentWriter{w, s}
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// sent is the number of bytes since the last call.
func (s *fileServer) sent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.bytes
	s.bytes = 0
	return n
}

type sentWriter struct {
	http.ResponseWriter
	s *fileServer
}

func (w *sentWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.bytes += int64(n)
	return n, err
}

// smallModel writes a random checkpoint like a published one, with smaller matrices.
func smallModel(t *testing.T, name string, change map[string]any) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../model/testdata/configs", name+".config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	maps.Copy(config, change)
	if data, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	file, dir := filepath.Join(t.TempDir(), "config.json"), filepath.Join(t.TempDir(), "model")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = synth.Run(t.Context(), synth.Config{
		File: file, Out: dir, Layers: 2, Experts: 16, Vocab: 512, Seed: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// openedCheckpoint is a checkpoint as a process opens it.
type openedCheckpoint struct {
	spec        *model.Spec
	ck          *safetensors.Checkpoint
	fingerprint string
}

func openCheckpoint(t *testing.T, dir string, source safetensors.Source) *openedCheckpoint {
	t.Helper()
	var o openedCheckpoint
	var err error
	if o.spec, err = model.Read(dir); err != nil {
		t.Fatal(err)
	}
	if o.ck, err = safetensors.OpenFrom(t.Context(), dir, source); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.ck.Close() })
	if err := o.spec.Check(o.ck); err != nil {
		t.Fatal(err)
	}
	if o.fingerprint, err = o.spec.Fingerprint(t.Context(), dir, o.ck); err != nil {
		t.Fatal(err)
	}
	return &o
}

// openURL opens a checkpoint by URL, in a cache of its own.
func openURL(t *testing.T, url string) *openedCheckpoint {
	t.Helper()
	m, err := hub.Open(t.Context(), hub.Config{URL: url, CacheDir: t.TempDir()},
		"config.json", "model.safetensors.index.json")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return openCheckpoint(t, m.Dir(), m)
}

// Each of four workers reads its own experts, headers and samples, but not the model; what it has
// then are the weights of the folder, bit for bit.
func TestWorkerReadsItsShare(t *testing.T) {
	for _, c := range []struct {
		name   string
		change map[string]any
	}{
		{"qwen3-30b-a3b", map[string]any{"hidden_size": 256, "moe_intermediate_size": 256}},
		{"qwen3-30b-a3b-fp8", map[string]any{"hidden_size": 512, "moe_intermediate_size": 256}},
		{"gpt-oss-20b", map[string]any{"hidden_size": 512, "intermediate_size": 512}}, // fused
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := smallModel(t, c.name, c.change)
			local, server := openCheckpoint(t, dir, nil), serveFiles(t, dir)
			sizes := local.spec.Sizes(local.ck)
			for w := range 4 {
				shareOf(t, local, server, w, sizes.Experts/4)
			}
		})
	}
}

func sameMatrix(a, b kernels.Matrix) bool {
	return a.Format == b.Format && bytes.Equal(a.Data, b.Data) && slices.Equal(a.Scales, b.Scales) &&
		bytes.Equal(a.Exponents, b.Exponents) && slices.Equal(a.Bias, b.Bias)
}

// shareOf loads a quarter of the experts by URL: worker 0 neighbours, the others every fourth.
func shareOf(t *testing.T, local *openedCheckpoint, server *fileServer, w int, share int64) {
	remote := openURL(t, server.URL)
	if remote.fingerprint != local.fingerprint {
		t.Error("the fingerprint differs from that of the folder")
	}
	const samples = 512 << 10
	if n := server.sent(); n > samples {
		t.Errorf("worker %d: opening has read %d bytes, more than %d", w, n, samples)
	}
	own := shard.NewStore(remote.spec, remote.ck)
	whole := shard.NewStore(local.spec, local.ck)
	var told int64
	for l, layer := range local.spec.Layers {
		if layer.MoE == nil {
			continue
		}
		var set shard.Set
		for i := range len(layer.MoE.Experts) / 4 {
			e := i
			if w > 0 {
				e = 4*i + w
			}
			set.Add(e)
		}
		if err := own.Load(t.Context(), l, set, func(n int64) { told += n }); err != nil {
			t.Fatal(err)
		}
		if err := whole.Load(t.Context(), l, set, nil); err != nil {
			t.Fatal(err)
		}
		for _, e := range set.Experts() {
			got, want := own.Expert(l, e), whole.Expert(l, e)
			if !sameMatrix(got.Gate, want.Gate) || !sameMatrix(got.Up, want.Up) ||
				!sameMatrix(got.Down, want.Down) {
				t.Errorf("expert %d of layer %d differs from the folder's", e, l)
			}
		}
		if err := own.Load(t.Context(), l, shard.NewSet(set.Experts()...), nil); err != nil {
			t.Error(err)
		}
	}
	read := server.sent()
	t.Logf("worker %d read %d bytes for %d of experts", w, read, own.Bytes())
	if read > share+share/10 {
		t.Errorf("worker %d read %d bytes, its share is %d", w, read, share)
	}
	if told != own.Bytes() {
		t.Errorf("progress told of %d bytes, want %d", told, own.Bytes())
	}
	// What was not fetched is refused, not read as zeros.
	if _, err := shard.View(remote.ck, model.Linear{Weight: remote.spec.Embed}); err == nil {
		t.Error("a matrix that was not fetched can be viewed")
	}
}
