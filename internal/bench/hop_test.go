package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/shard"
)

// startPeer serves the other end until the test is over.
func startPeer(t *testing.T, hidden int) Peer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan Peer, 1), make(chan error, 1)
	go func() {
		ended <- ServePeer(ctx, "127.0.0.1:0", hidden, func(p Peer) error {
			ready <- p
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case p := <-ready:
		return p
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return Peer{}
}

// TestHop is a run over both paths: times are the machine's, but what was sent is known.
func TestHop(t *testing.T) {
	peer := startPeer(t, 96)
	said, err := json.Marshal(peer)
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodePeer(said)
	if err != nil || again.Hidden != 96 || len(again.Ends) != 2 {
		t.Fatalf("%+v, %v", again, err)
	}
	r, err := Hop(t.Context(), HopConfig{
		Peer: again, Tokens: []int{1, 5}, Wire: wire.BF16, Duration: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Hops) != 4 {
		t.Fatalf("%d results, want 4", len(r.Hops))
	}
	for i, h := range r.Hops {
		network, tokens := []string{"tcp", "unix"}[i/2], []int{1, 5}[i%2]
		if h.Network != network || h.Tokens != tokens || h.Bytes != tokens*96*2 {
			t.Errorf("result %d: %+v", i, h)
		}
		for _, l := range []Latency{h.Raw, h.Computed, h.Lane, h.Call} {
			if l.Count < burst || l.P50 <= 0 || l.P99 < l.P50 {
				t.Errorf("result %d: %+v", i, l)
			}
		}
		if h.Call.P50 < h.Lane.P50 || h.LaneRatio <= 0 || h.ComputedRatio <= 0 ||
			h.CallThroughput <= 0 {
			t.Errorf("result %d: %+v", i, h)
		}
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil || !strings.Contains(table.String(), "RAW P50") {
		t.Errorf("%v\n%s", err, table.String())
	}
}

func TestHopRefuses(t *testing.T) {
	gone := Peer{Hidden: 64, Ends: []End{{Network: "tcp", Worker: "127.0.0.1:1", Raw: "127.0.0.1:1"}}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Hop(ctx, HopConfig{Peer: gone}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	for _, c := range []struct {
		cfg  HopConfig
		want string
	}{
		{HopConfig{}, "hops of 0 numbers to 0 ends"},
		{HopConfig{Peer: Peer{Hidden: 1 << 30, Ends: gone.Ends}}, "not more than"},
		{HopConfig{Peer: gone, Tokens: []int{0}}, "calls of 0 tokens"},
		{HopConfig{Peer: gone, Tokens: []int{1 << 40}}, "in up to 67108864 bytes"},
	} {
		if _, err := Hop(t.Context(), c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if err := ServePeer(t.Context(), "127.0.0.1:0", 1, nil); err == nil {
		t.Error("a peer of hidden size 1 serves")
	}
	for _, text := range []string{"", "[]", strings.Repeat("x", maxPeer+1)} {
		if _, err := DecodePeer([]byte(text)); err == nil {
			t.Errorf("%.10q is a peer", text)
		}
	}
}

// Whoever asks a bare socket for nothing, for too much, or for tokens of another size is hung up on.
func TestEchoIsBounded(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := startEcho(listener, &rawExpert{hidden: 64})
	for _, asked := range [][2]uint64{
		{0, 0}, {1 << 63, 0}, {maxPayload + 1, 0}, {128, 2}, {64, 1}, {1 << 63, 1 << 56}, {128, 1 << 63},
	} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b := binary.LittleEndian.AppendUint64(nil, asked[0])
		if _, err := conn.Write(binary.LittleEndian.AppendUint64(b, asked[1])); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("asked for %d bytes of %d tokens: %d bytes, %v", asked[0], asked[1], n, err)
		}
		_ = conn.Close()
	}
	if err := e.close(); err != nil {
		t.Error(err)
	}
}

// A bare socket that computes says what the worker says.
func TestEchoComputes(t *testing.T) {
	const hidden, tokens = 64, 3
	ck, err := hopCheckpoint(t.Context(), t.TempDir(), hidden)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.tensors.Close()
	store := shard.NewQuantizedStore(ck.spec, ck.tensors, shard.QuantNone)
	var one shard.Set
	one.Add(0)
	if err := store.Load(t.Context(), 0, one, nil); err != nil {
		t.Fatal(err)
	}
	pool := kernels.NewPool(2)
	defer pool.Close()
	e := &rawExpert{
		expert: store.Expert(0, 0), activation: ck.spec.Activation, hidden: hidden, pool: pool,
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	raw := startEcho(listener, e)
	end := End{Network: "tcp", Raw: listener.Addr().String()}
	s, err := dialRaw(t.Context(), end, tokens*hidden*wire.F32.Size(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	x := ones(tokens * hidden)
	wire.F32.Encode(s.message, x)
	took, err := s.roundTrip()
	if err != nil || took <= 0 {
		t.Fatalf("%v s, %v", took, err)
	}
	got := make([]float32, len(x))
	wire.F32.Decode(got, s.message)
	var work shard.Work
	want := work.Run(pool, ck.spec.Activation, e.expert, x, []uint32{0, 1, 2}, ones(tokens))
	if !slices.Equal(got, want) {
		t.Errorf("computed %v, want %v", got[:4], want[:4])
	}
	if err := errors.Join(s.conn.Close(), raw.close()); err != nil {
		t.Error(err)
	}
}

func TestNextPort(t *testing.T) {
	bound := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7000}
	for asked, want := range map[string]string{
		"127.0.0.1:7000": "127.0.0.1:7001", "127.0.0.1:0": "127.0.0.1:0", ":": "127.0.0.1:0",
	} {
		if got := nextPort(asked, bound); got != want {
			t.Errorf("after %s comes %s, want %s", asked, got, want)
		}
	}
}

func TestBurnEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	Burn(ctx, 2)
}
