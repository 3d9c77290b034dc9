package membership

import (
	"bytes"
	"compress/lzw"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/faultnet"
)

// msgpack writes the few things of it that the attacks need.
func msgpackMap(pairs ...any) []byte {
	b := []byte{0x80 | byte(len(pairs)/2)}
	for _, v := range pairs {
		switch v := v.(type) {
		case string:
			b = append(append(b, 0xa0|byte(len(v))), v...)
		case int:
			b = binary.BigEndian.AppendUint32(append(b, 0xce), uint32(v))
		case []byte: // as it is
			b = append(b, v...)
		}
	}
	return b
}

// bomb is a compressed message of 64 MiB.
func bomb(t *testing.T) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := lzw.NewWriter(&packed, lzw.LSB, 8)
	for range 64 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	buf := binary.BigEndian.AppendUint32([]byte{0xdb}, uint32(packed.Len()))
	return append([]byte{9}, msgpackMap("Algo", 0, "Buf", append(buf, packed.Bytes()...))...)
}

// attacks are messages of memberlist that announce far more than they bring. The numbers
// are its message types.
func attacks(t *testing.T) [][]byte {
	long := []byte{0xdb, 0xff, 0xff, 0xff, 0xf0} // a string of 4 GiB
	huge := []byte{0xdd, 0xff, 0xff, 0xff, 0xf0} // a list of as many entries
	return [][]byte{
		append([]byte{6}, msgpackMap("Nodes", 1<<20, "UserStateLen", 0)...),
		append([]byte{6}, msgpackMap("Nodes", 1<<31-1, "UserStateLen", 1<<31-1)...),
		append([]byte{6}, msgpackMap("Nodes", 0, "UserStateLen", 20<<20)...),
		append([]byte{8}, msgpackMap("UserMsgLen", 20<<20)...),
		append([]byte{0}, msgpackMap("SeqNo", 1, "Node", long)...),
		append([]byte{4}, msgpackMap("Node", "x/y", "Addr", huge, "Meta", long)...),
		append([]byte{9}, msgpackMap("Algo", 0, "Buf", long)...),
		{10, 0xff, 0xff, 0xff, 0xff}, // encrypted, 4 GiB
		{10, 0x01, 0x40, 0x00, 0x00}, // encrypted, as large as memberlist takes
		{10, 0, 0, 0, 0},
		{7, 0xff, 0, 0}, // compound
		{9}, {10}, {12, 1}, {244, 0}, {244, 255},
		bomb(t),
	}
}

// openFiles counts this process's file descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc on this system: ", err)
	}
	return len(entries)
}

// Thousands of connections and packets of garbage, and messages that announce gigabytes, leave
// members as they are, and take no memory to speak of.
func TestHostileGossip(t *testing.T) {
	key := newGossipKey()
	a := gossip(t, GossipConfig{ID: "a", Key: key})
	b := gossip(t, GossipConfig{ID: "b", Key: key})
	join(t, b, a)
	until(t, a.Events(), "b", event(EventAlive, "b"))
	label := append([]byte{244, 16}, "conclave/default"...)
	corpus := attacks(t)
	payload := func(rng *rand.Rand) []byte {
		body := corpus[rng.IntN(len(corpus))]
		if rng.IntN(2) == 0 {
			body = faultnet.Spoil(rng, body)
		}
		if rng.IntN(8) == 0 {
			return body
		}
		return append(label[:len(label):len(label)], body...)
	}
	files, routines := openFiles(t), runtime.NumGoroutine()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)

	const seed = 5
	if n := faultnet.Pelt(t.Context(), a.Addr(), 2000, seed, 50*time.Millisecond, payload); n < 1900 {
		t.Errorf("only %d of 2000 connections were opened", n)
	}
	udp, err := net.Dial("udp", a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 1<<32))
	for range 5000 {
		_, _ = udp.Write(payload(rng)) // what is too large for a packet is not sent
	}
	_ = udp.Close()

	// A newcomer is met as ever.
	c := gossip(t, GossipConfig{ID: "c", Key: key})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for ctx.Err() == nil {
		if n, _ := c.Join([]string{a.Addr()}); n == 1 {
			break
		}
		wait(ctx, 50*time.Millisecond)
	}
	until(t, a.Events(), "c", event(EventAlive, "c"))
	if m := find(a, "b"); !m.Alive {
		t.Errorf("b is %+v", m)
	}
	if m := a.Members(); len(m) != 3 {
		t.Errorf("members %+v, want a, b and c", m)
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 96<<20 {
		t.Errorf("memory has grown by %d MiB", grown>>20)
	}
	_ = c.Close()
	for ctx.Err() == nil && (openFiles(t) > files || runtime.NumGoroutine() > routines) {
		wait(ctx, 50*time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Errorf("%d files and %d goroutines, before there were %d and %d",
			openFiles(t), runtime.NumGoroutine(), files, routines)
	}
}

// Who has no key, or the key and another cluster's name, is not met.
func TestStrangersAreNotMet(t *testing.T) {
	t.Parallel()
	key := newGossipKey()
	a := gossip(t, GossipConfig{ID: "a", Key: key})
	for name, cfg := range map[string]GossipConfig{
		"in the clear":    {ID: "x"},
		"another key":     {ID: "x", Key: newGossipKey()},
		"another cluster": {ID: "x", Key: key, Cluster: "other"},
	} {
		if n, err := gossip(t, cfg).Join([]string{a.Addr()}); n != 0 || err == nil {
			t.Errorf("%s: joined %d, %v", name, n, err)
		}
	}
	if m := a.Members(); len(m) != 1 {
		t.Errorf("members %+v, want a alone", m)
	}
}

// The first key stands; an etcd that has lost it gets it back; and where another took its
// place, members change to that one without losing each other.
func TestGossipKey(t *testing.T) {
	etcd := startEtcd(t, EmbeddedConfig{})
	c := connect(t, etcd.Endpoint(), 5*time.Second)
	ctx := soon(t)
	first, err := c.gossipKey(ctx, newGossipKey())
	if err != nil || len(first) != gossipKeyBytes {
		t.Fatalf("drew %x, %v", first, err)
	}
	if again, err := c.gossipKey(ctx, newGossipKey()); err != nil || !bytes.Equal(first, again) {
		t.Errorf("a second process has key %x, %v; want %x", again, err, first)
	}
	if _, err := c.etcd.Delete(ctx, c.keys.gossipKey()); err != nil {
		t.Fatal(err)
	}
	if back, err := c.gossipKey(ctx, first); err != nil || !bytes.Equal(first, back) {
		t.Errorf("key %x came back as %x, %v", first, back, err)
	}
	if _, err := c.etcd.Put(ctx, c.keys.gossipKey(), "\x1b[31m"); err != nil {
		t.Fatal(err)
	}
	if key, err := c.gossipKey(ctx, first); err == nil {
		t.Errorf("a broken key was read as %x", key)
	}

	a := gossip(t, GossipConfig{ID: "a", Key: first})
	b := gossip(t, GossipConfig{ID: "b", Key: first})
	join(t, b, a)
	next := newGossipKey()
	changed := make(chan bool, 2)
	for _, g := range []*Gossip{a, b} {
		go func() { changed <- g.changeKey(ctx, first, next, 300*time.Millisecond) }()
	}
	for range 2 {
		if !<-changed {
			t.Fatal("the key was not changed")
		}
	}
	fresh := gossip(t, GossipConfig{ID: "fresh", Key: next})
	join(t, fresh, a)
	until(t, b.Events(), "the newcomer", event(EventAlive, "fresh"))
	if !find(a, "b").Alive || !find(b, "a").Alive {
		t.Errorf("after the change: %+v, %+v", find(a, "b"), find(b, "a"))
	}
}
