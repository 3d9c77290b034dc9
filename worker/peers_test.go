package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/conclave-serve/conclave/internal/hub"
	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/model"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
	"github.com/conclave-serve/conclave/shard"
)

// weightOrigin serves a checkpoint by HTTP, and counts the bytes of weights that it sends.
type weightOrigin struct {
	*httptest.Server
	sent atomic.Int64
	mu   sync.Mutex
	// spoil, if not nil, changes the bytes of a weight file before [begin, end) of it is served.
	spoil func(data []byte, begin, end int64)
	away  atomic.Bool
}

func startOrigin(t testing.TB, dir string) *weightOrigin {
	t.Helper()
	o := &weightOrigin{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Base(r.URL.Path)
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || o.away.Load() {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", `"1"`)
		if strings.HasSuffix(name, ".safetensors") {
			o.mu.Lock()
			var begin, last int64
			_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &begin, &last)
			if o.spoil != nil && err == nil {
				o.spoil(data, begin, last+1)
			}
			o.mu.Unlock()
			w = &countedWriter{w, &o.sent}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *weightOrigin) spoiled(by func(data []byte, begin, end int64)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spoil = by
}

type countedWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w *countedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n.Add(int64(n))
	return n, err
}

// startWeights serves weights at an address of its own.
func startWeights(t testing.TB, s conclavev1.WeightServiceServer) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(wire.ServerOptions(1 << 20)...)
	conclavev1.RegisterWeightServiceServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return lis.Addr().String()
}

// loader is a worker's way to its weights, without the worker.
type loader struct {
	spec   *model.Spec
	source *comparedSource
	store  *shard.Store
	local  *safetensors.Checkpoint // the folder
	origin *weightOrigin
	state  *membership.State
}

// startLoader opens a checkpoint by URL for a worker whose peers have these addresses and hold all
// experts.
func startLoader(t testing.TB, peerAddrs ...string) *loader {
	t.Helper()
	l := &loader{origin: startOrigin(t, checkpointDir), local: openFolder(t, checkpointDir)}
	l.open(t, peerAddrs...)
	return l
}

func (l *loader) open(t testing.TB, peerAddrs ...string) {
	t.Helper()
	m, err := hub.Open(t.Context(), hub.Config{URL: l.origin.URL, CacheDir: t.TempDir()}, "config.json")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	if l.spec, err = model.Read(m.Dir()); err != nil {
		t.Fatal(err)
	}
	l.source = &comparedSource{Remote: m}
	ck, err := safetensors.OpenFrom(t.Context(), m.Dir(), l.source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ck.Close() })
	if err := l.spec.Check(ck); err != nil {
		t.Fatal(err)
	}
	spans, err := findExperts(l.spec, ck)
	if err != nil {
		t.Fatal(err)
	}
	l.state = &membership.State{Workers: map[string]membership.Worker{}}
	for i, addr := range peerAddrs {
		id := string(rune('a' + i))
		w := membership.Worker{ID: id, Incarnation: "1", Addr: addr, Model: "m"}
		for range l.spec.Layers {
			w.Ready = append(w.Ready, "0-7")
		}
		l.state.Workers[id] = w
	}
	h := &holders{
		self:  Identity{ID: "me", Model: "m"},
		state: func() *membership.State { return l.state },
	}
	l.source.peers = newPeers(h, spans, slog.New(slog.DiscardHandler))
	l.source.peers.pace.piece = 200 * time.Millisecond
	l.source.ck = ck
	l.source.UseMirror(l.source.peers)
	t.Cleanup(l.source.peers.rest)
	l.store = shard.NewStore(l.spec, ck)
	l.origin.sent.Store(0)
}

func openFolder(t testing.TB, dir string) *safetensors.Checkpoint {
	t.Helper()
	ck, err := safetensors.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ck.Close() })
	return ck
}

// newState is news from the registry.
func (l *loader) newState(s membership.State) { l.state = &s }

// load makes some experts of a layer ready.
func (l *loader) load(t *testing.T, layer int, experts ...int) error {
	t.Helper()
	return l.store.Load(t.Context(), layer, shard.NewSet(experts...), nil)
}

// mustMatch requires that the experts of a layer are those of the folder.
func (l *loader) mustMatch(t *testing.T, layer int, experts ...int) {
	t.Helper()
	whole := shard.NewStore(l.spec, l.local)
	if err := whole.Load(t.Context(), layer, shard.NewSet(experts...), nil); err != nil {
		t.Fatal(err)
	}
	for _, e := range experts {
		got, want := l.store.Expert(layer, e), whole.Expert(layer, e)
		if got == nil || !bytes.Equal(got.Gate.Data, want.Gate.Data) ||
			!bytes.Equal(got.Up.Data, want.Up.Data) || !bytes.Equal(got.Down.Data, want.Down.Data) {
			t.Errorf("expert %d of layer %d differs from the folder's", e, layer)
		}
	}
}

func (l *loader) expertBytes() int64 { return l.spec.ExpertBytes(l.local, 0) }

func goodOffer(t testing.TB) *offer {
	return newOffer("m", openFolder(t, checkpointDir), func() bool { return false })
}

// Experts come from those who hold them, spread over them, and not from the origin.
func TestFetchFromPeers(t *testing.T) {
	a, b := goodOffer(t), goodOffer(t)
	l := startLoader(t, startWeights(t, a), startWeights(t, b))
	if err := l.load(t, 0, 0, 1, 2, 3, 4, 5, 6, 7); err != nil {
		t.Fatal(err)
	}
	l.mustMatch(t, 0, 0, 1, 2, 3, 4, 5, 6, 7)
	if n := l.origin.sent.Load(); n > 0 {
		t.Errorf("%d bytes came from the origin", n)
	}
	_, fromPeers := l.source.BytesRead()
	if want := 8 * l.expertBytes(); fromPeers != want || a.served.Load()+b.served.Load() != want {
		t.Errorf("%d bytes came from peers, which sent %d and %d, want %d", fromPeers, a.served.Load(),
			b.served.Load(), want)
	}
	if a.served.Load() == 0 || b.served.Load() == 0 {
		t.Errorf("the peers sent %d and %d bytes", a.served.Load(), b.served.Load())
	}
	l.origin.away.Store(true) // peers are enough
	if err := l.load(t, 1, 0, 5); err != nil {
		t.Error(err)
	}
	l.mustMatch(t, 1, 0, 5)
}

// badPeer answers by do in the place of a good offer.
type badPeer struct {
	*offer
	do func(s conclavev1.WeightService_FetchServer, data []byte) error
	n  atomic.Int64 // of calls
}

func (p *badPeer) Fetch(
	req *conclavev1.FetchRequest, s conclavev1.WeightService_FetchServer,
) error {
	p.n.Add(1)
	data, err := p.read(req.GetModel(), req.GetRange())
	if err != nil {
		return err
	}
	return p.do(s, data)
}

func send(s conclavev1.WeightService_FetchServer, piece []byte, sum uint32) error {
	return s.Send(&conclavev1.FetchResponse{Piece: piece, Crc32C: sum})
}

// Whatever a peer does, the experts are right, and come from the origin as far as they must.
func TestPeersThatFail(t *testing.T) {
	half := func(data []byte) []byte { return data[:len(data)/2] }
	for name, do := range map[string]func(s conclavev1.WeightService_FetchServer, data []byte) error{
		"corrupt": func(s conclavev1.WeightService_FetchServer, data []byte) error {
			damaged := bytes.Clone(data)
			damaged[len(damaged)/3] ^= 1
			return send(s, damaged, castagnoli(data))
		},
		"ends early": func(s conclavev1.WeightService_FetchServer, data []byte) error {
			return send(s, half(data), castagnoli(half(data)))
		},
		"dies": func(s conclavev1.WeightService_FetchServer, data []byte) error {
			return errors.Join(send(s, half(data), castagnoli(half(data))), errors.New("died"))
		},
		"frozen": func(s conclavev1.WeightService_FetchServer, data []byte) error {
			err := send(s, half(data), castagnoli(half(data)))
			<-s.Context().Done()
			return err
		},
		"sends too much": func(s conclavev1.WeightService_FetchServer, data []byte) error {
			long := append(bytes.Clone(data), 0)
			return send(s, long, castagnoli(long))
		},
		"sends nothing": func(s conclavev1.WeightService_FetchServer, _ []byte) error {
			return errors.Join(send(s, nil, 0), send(s, nil, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := &badPeer{offer: goodOffer(t), do: do}
			l := startLoader(t, startWeights(t, bad))
			if err := l.load(t, 0, 0, 1, 2, 3, 4, 5); err != nil {
				t.Fatal(err)
			}
			l.mustMatch(t, 0, 0, 1, 2, 3, 4, 5)
			if n := bad.n.Load(); n == 0 || n > perPeer {
				t.Errorf("it was asked %d times, want once or twice", n)
			}
			origin, fromPeers := l.source.BytesRead()
			want := 6 * l.expertBytes()
			if l.origin.sent.Load() > want || origin+fromPeers < want {
				t.Errorf("%d bytes came from the origin, %d from peers, want %d together",
					l.origin.sent.Load(), fromPeers, want)
			}
		})
	}
}

// A peer whose answers are right is preferred to the origin even after another one has failed.
func TestNextHolderBeforeOrigin(t *testing.T) {
	bad := &badPeer{offer: goodOffer(t), do: func(conclavev1.WeightService_FetchServer, []byte) error {
		return errors.New("out of order")
	}}
	l := startLoader(t, startWeights(t, bad), startWeights(t, goodOffer(t)))
	if err := l.load(t, 0, 0, 1, 2, 3); err != nil {
		t.Fatal(err)
	}
	l.mustMatch(t, 0, 0, 1, 2, 3)
	if n := l.origin.sent.Load(); n > 0 {
		t.Errorf("%d bytes came from the origin", n)
	}
}

// A peer whose machine is gone costs no more than its patience.
func TestPeerThatIsGone(t *testing.T) {
	l := startLoader(t, "127.0.0.1:1")
	if err := l.load(t, 0, 0, 1); err != nil {
		t.Fatal(err)
	}
	l.mustMatch(t, 0, 0, 1)
}

// cancelled ends a reading that a frozen peer holds up.
func TestFetchEndsWithContext(t *testing.T) {
	asked := make(chan struct{}, 100)
	bad := &badPeer{offer: goodOffer(t), do: func(s conclavev1.WeightService_FetchServer, _ []byte) error {
		asked <- struct{}{}
		<-s.Context().Done()
		return nil
	}}
	l := startLoader(t, startWeights(t, bad))
	l.source.peers.pace.piece = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	err := l.store.Load(ctx, 0, shard.NewSet(0), nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
