//go:build linux

package tests

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator"
)

// remoteWorker is a worker with an origin and a cache of its own.
type remoteWorker struct {
	*process
	id     string
	origin *fileServer
}

func (m *machines) remoteWorker(t *testing.T, id string, args ...string) *remoteWorker {
	t.Helper()
	return m.workerFrom(t, id, serveFiles(t, m.model), args...)
}

func (m *machines) workerFrom(
	t *testing.T, id string, origin *fileServer, args ...string,
) *remoteWorker {
	t.Helper()
	return &remoteWorker{m.box.start(t, append([]string{
		"worker", "--id", id, "--listen", "127.0.0.1:0", "--etcd", m.etcd, "--model", origin.URL,
		"--cache-dir", t.TempDir(), "--lease-ttl", "3s",
	}, args...)...), id, origin}
}

var peerBytesLine = regexp.MustCompile(`"origin_bytes":(\d+),"peer_bytes":(\d+)`)

// read sums what the worker says that it has read of experts, when it says that it holds so much.
func (w *remoteWorker) read(t *testing.T, held int64) (origin, peers int64) {
	t.Helper()
	w.awaitText(t, w.stderr, fmt.Sprintf(`"held_bytes":%d,`, held))
	for _, m := range peerBytesLine.FindAllStringSubmatch(w.stderr.String(), -1) {
		for i, into := range []*int64{&origin, &peers} {
			n, err := strconv.ParseInt(m[i+1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			*into += n
		}
	}
	return origin, peers
}

// copied waits for workers that hold so many copies of every expert, and returns how many experts
// each holds.
func (m *machines) copied(t *testing.T, workers, copies int) map[string]int {
	t.Helper()
	held := map[string]int{}
	m.awaitStatus(t, fmt.Sprintf("%d workers with %d copies", workers, copies),
		func(s coordinator.Status) bool {
			clear(held)
			experts := 0
			for _, w := range s.Workers {
				if w.ExpertCount == 0 {
					return false
				}
				held[w.ID] = w.ExpertCount
				experts += w.ExpertCount
			}
			return s.Ready && s.Settled && len(s.Workers) == workers && s.ReplicasLeast == copies &&
				experts == copies*demoExperts
		})
	return held
}

// openingBytes bounds what opening the demo model reads: headers, and 4 KiB of many small tensors
// with the gaps between them.
const openingBytes = 512 << 10

// Each of four workers reads its share from its origin, whether experts have one copy or two; a
// fifth reads its share from them, and next to nothing from its origin.
func TestJoinReadsFromPeers(t *testing.T) {
	t.Parallel()
	for _, copies := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d copies", copies), func(t *testing.T) {
			t.Parallel()
			m := startMachines(t, startEtcd(t, t.TempDir(), ""), "--min-workers", "4",
				"--replicas", strconv.Itoa(copies))
			var workers []*remoteWorker
			for i := range 4 {
				workers = append(workers, m.remoteWorker(t, fmt.Sprintf("w%d", i)))
			}
			held := m.copied(t, 4, copies)
			folder := openCheckpoint(t, m.model, nil)
			expert := folder.spec.Sizes(folder.ck).Experts / demoExperts
			for _, w := range workers {
				share, sent := int64(held[w.id])*expert, w.origin.sent()
				origin, _ := w.read(t, share)
				t.Logf("%s holds %d bytes; its origin sent %d, of which %d of experts", w.id, share, sent,
					origin)
				// Samples for the fingerprint are parts of experts.
				if origin > share+share/10 || sent < share || sent > origin+openingBytes {
					t.Errorf("%s did not read its share", w.id)
				}
			}
			want := m.post(t, "/v1/chat/completions", chatBody("What is 17 + 25?", ""))

			fifth := m.remoteWorker(t, "w4")
			held = m.copied(t, 5, copies)
			share, sent := int64(held["w4"])*expert, fifth.origin.sent()
			origin, peers := fifth.read(t, share)
			t.Logf("w4 holds %d bytes; its origin sent %d, of which %d of experts, peers %d", share, sent,
				origin, peers)
			if sent > openingBytes || origin > share/10 || peers < share*9/10 || peers > share+share/10 {
				t.Error("w4 did not read its share from peers")
			}
			for _, w := range workers {
				if n := w.origin.sent(); n > share/10 {
					t.Errorf("%s: its origin sent %d bytes more while another one joined", w.id, n)
				}
			}
			got := m.post(t, "/v1/chat/completions", chatBody("What is 17 + 25?", ""))
			if scrub(got) != scrub(want) {
				t.Errorf("with five workers: %s\nwith four: %s", got, want)
			}
		})
	}
}

// A worker joins while one of those that it reads from is stopped, and another is killed.
func TestJoinWhilePeersFail(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""), "--min-workers", "3")
	var workers []*remoteWorker
	for i := range 3 {
		workers = append(workers, m.remoteWorker(t, fmt.Sprintf("w%d", i)))
	}
	m.copied(t, 3, 2)
	want := m.post(t, "/v1/chat/completions", chatBody("What is 17 + 25?", ""))
	workers[0].signal(t, syscall.SIGSTOP)
	joined := time.Now()
	fourth := m.remoteWorker(t, "w3")
	fourth.awaitText(t, fourth.stderr, "worker registered")
	kill(t, workers[1].cmd.Process.Pid)
	fourth.awaitText(t, fourth.stderr, "experts ready")
	t.Logf("it had its first experts %.1f s after its start", time.Since(joined).Seconds())
	workers[0].signal(t, syscall.SIGCONT)
	m.copied(t, 3, 2)
	got := m.post(t, "/v1/chat/completions", chatBody("What is 17 + 25?", ""))
	if scrub(got) != scrub(want) {
		t.Errorf("after: %s\nbefore: %s", got, want)
	}
}

// One worker's origin damages a bit, once: the other one notices it, and the answers are those of
// the folder.
func TestDamagedOrigin(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""), "--min-workers", "2")
	files := serveFiles(t, m.model)
	damaging := damageOnce(t, files)
	bad := m.workerFrom(t, "w0", &fileServer{Server: damaging})
	m.remoteWorker(t, "w1")
	m.copied(t, 2, 2)
	bad.awaitText(t, bad.stderr, "damaged bytes of an expert were replaced")
	local := startUp(t)
	until(t, "the answer of the folder", func() (bool, string) {
		body := chatBody("What is 17 + 25?", "")
		got := scrub(m.post(t, "/v1/chat/completions", body))
		want := scrub(local.post(t, "/v1/chat/completions", body))
		return got == want, fmt.Sprintf("%s\nwant %s", got, want)
	})
}

// damageOnce serves files, but flips a bit in the first long answer of weights.
func damageOnce(t *testing.T, files *fileServer) *httptest.Server {
	t.Helper()
	var done atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var begin, last int64
		_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &begin, &last)
		name := filepath.Base(r.URL.Path)
		const long = 64 << 10
		if err == nil && last-begin > long && strings.HasSuffix(name, ".safetensors") &&
			done.CompareAndSwap(false, true) {
			w = &flipWriter{ResponseWriter: w}
		}
		files.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

type flipWriter struct {
	http.ResponseWriter
	flipped bool
}

func (w *flipWriter) Write(p []byte) (int, error) {
	if w.flipped || len(p) < 4 {
		return w.ResponseWriter.Write(p)
	}
	w.flipped = true
	q := append([]byte(nil), p...)
	q[len(q)/2] ^= 1
	return w.ResponseWriter.Write(q)
}
