package worker

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/synth"
	"github.com/conclave-serve/conclave/shard"
)

// BenchmarkLoad reads eight experts of 9.4 MB each (hidden 2048, width 768, bf16), with a fresh
// cache each time: from peers, from an origin on this machine, and from one behind a line of
// 1 Gbit/s. What a cache costs, its fsync above all, is in each of them.
func BenchmarkLoad(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "model")
	_, err := synth.Run(b.Context(), synth.Config{
		File: "../model/testdata/configs/qwen3-30b-a3b.config.json", Out: dir,
		Layers: 1, Experts: 8, Vocab: 512, Seed: 1,
	})
	if err != nil {
		b.Fatal(err)
	}
	const gigabit = 125 << 20
	for _, c := range []struct {
		name  string
		peers int
		rate  int64 // of the origin; 0: no limit
	}{{"2 peers", 2, gigabit}, {"1 peer", 1, gigabit}, {"origin", 0, 0}, {"origin at 1 Gbit", 0, gigabit}} {
		b.Run(c.name, func(b *testing.B) {
			local := openFolder(b, dir)
			var addrs []string
			for range c.peers {
				addrs = append(addrs, startWeights(b, newOffer("m", local, func() bool { return false })))
			}
			for b.Loop() {
				b.StopTimer()
				l := &loader{local: local, origin: &weightOrigin{Server: slowOrigin(b, dir, c.rate)}}
				l.open(b, addrs...)
				l.source.peers.pace = defaultPeerPace()
				b.SetBytes(8 * l.expertBytes())
				b.StartTimer()
				err := l.store.Load(b.Context(), 0, shard.NewSet(0, 1, 2, 3, 4, 5, 6, 7), nil)
				if err != nil {
					b.Fatal(err)
				}
				if n, _ := l.source.BytesRead(); c.peers > 0 && n > 1<<20 {
					b.Fatalf("%d bytes came from the origin", n)
				}
			}
		})
	}
}

// slowOrigin serves a folder over a line of so many bytes a second, which its answers share.
func slowOrigin(b *testing.B, dir string, rate int64) *httptest.Server {
	b.Helper()
	files := http.FileServer(http.Dir(dir))
	line := make(chan struct{}, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if rate > 0 {
			w = &slowWriter{w, rate, line, 0}
		}
		files.ServeHTTP(w, r)
	}))
	b.Cleanup(s.Close)
	return s
}

type slowWriter struct {
	http.ResponseWriter
	rate int64
	line chan struct{}
	owed time.Duration // not waited for yet: timers are coarse
}

func (w *slowWriter) Write(p []byte) (int, error) {
	w.owed += time.Duration(int64(len(p)) * int64(time.Second) / w.rate)
	if w.owed > 10*time.Millisecond {
		w.line <- struct{}{}
		<-time.After(w.owed)
		<-w.line
		w.owed = 0
	}
	return w.ResponseWriter.Write(p)
}
