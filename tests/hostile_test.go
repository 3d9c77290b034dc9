//go:build linux

package tests

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/faultnet"
	"github.com/conclave-serve/conclave/internal/membership"
)

// peltings is how many connections of garbage each port gets, and as many packets.
const peltings = 2000

// TestHostilePorts throws garbage at every port of a cluster of real processes
// under 16 streams: no stream may fail or say something else, and afterwards
// each process has the memory and files that it had.
func TestHostilePorts(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""), "--min-workers", "2")
	procs := map[string]*process{"front": m.coordinator, "w1": m.worker(t, "w1"), "w2": m.worker(t, "w2")}
	m.awaitStatus(t, "two workers", whole(2))
	l := startPacedLoad(t, m.api)
	l.phase(t, "undisturbed", 2)
	files, memory := map[string]int{}, map[string]int{}
	for id, p := range procs {
		pid := p.cmd.Process.Pid
		files[id], memory[id] = processFiles(t, pid), residents(t, []int{pid})[0]
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for i, port := range m.ports(t) {
		payload := port.payload
		n := faultnet.Pelt(ctx, port.addr, peltings, uint64(i), 30*time.Millisecond, payload)
		if n < peltings*9/10 {
			t.Errorf("%s: only %d of %d connections were opened", port.name, n, peltings)
		}
		if port.udp {
			throwPackets(t, port.addr, payload)
		}
	}
	l.phase(t, "after garbage", 2)
	l.stop(t)
	m.awaitStatus(t, "both workers still", whole(2))
	for id, p := range procs {
		pid := p.cmd.Process.Pid
		until(t, "files to be closed", func() (bool, string) {
			now := processFiles(t, pid)
			return now <= files[id], fmt.Sprintf("%s has %d files open, before there were %d", id, now, files[id])
		})
		grown := residents(t, []int{pid})[0] - memory[id]
		t.Logf("%s: resident memory has grown by %d MB of %d", id, grown, memory[id])
		if grown > 100 {
			t.Errorf("%s: resident memory has grown by %d MB", id, grown)
		}
		if text := p.stderr.String(); strings.Contains(text, "panic") || len(text) > 1<<20 {
			t.Errorf("%s: %d bytes of log, the last of them: %s", id, len(text), text[max(0, len(text)-2000):])
		}
	}
}

// port is a port to be pelted with payload.
type port struct {
	name, addr string
	udp        bool
	payload    func(rng *rand.Rand) []byte
}

// ports lists every port of the cluster but etcd's.
func (m *machines) ports(t *testing.T) []port {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := membership.Connect(ctx, membership.Config{Endpoints: []string{m.etcd}, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	state, open := <-c.Watch(ctx)
	if !open || len(state.Workers) != 2 {
		t.Fatalf("registered: %+v", state)
	}
	ports := []port{{name: "HTTP", addr: strings.TrimPrefix(m.url, "http://"), payload: brokenHTTP}}
	for id, w := range state.Workers {
		ports = append(ports, port{name: "experts of " + id, addr: w.Addr, payload: brokenLanes})
	}
	for i, addr := range state.GossipPeers() {
		ports = append(ports, port{name: fmt.Sprint("gossip ", i), addr: addr, udp: true, payload: brokenGossip})
	}
	return ports
}

func throwPackets(t *testing.T, addr string, payload func(rng *rand.Rand) []byte) {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	rng := rand.New(rand.NewPCG(1, 2))
	for range peltings {
		_, _ = c.Write(payload(rng)) // it may be full
	}
}

// pick returns one of the messages as it is, broken, or noise in its place.
func pick(rng *rand.Rand, messages ...[]byte) []byte {
	b := messages[rng.IntN(len(messages))]
	switch rng.IntN(4) {
	case 0:
		return faultnet.Noise(rng, 4000)
	case 1:
		return faultnet.Spoil(rng, b)
	}
	return b
}

func brokenHTTP(rng *rand.Rand) []byte {
	const post = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
	return pick(rng,
		[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
		[]byte(post+"Content-Length: 100000000000\r\n\r\n{\"prompt\":\""),
		[]byte(post+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n"),
		[]byte(post+"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}"),
		[]byte(post+"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{"),
		[]byte(post+"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n"+strings.Repeat("[", 20_000)),
		[]byte(post+strings.Repeat("X-A: b\r\n", 10_000)+"\r\n"),
		[]byte(post+"X-Long: "+strings.Repeat("x", 100_000)),
		[]byte(strings.Repeat("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 50)),
		[]byte("GET /\x00 HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n"),
		[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), // TLS
	)
}

func brokenLanes(rng *rand.Rand) []byte {
	greeting := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	frame := func(head string, n int) []byte {
		return append([]byte(head), bytes.Repeat([]byte{0xff}, n)...)
	}
	// POST to the expert service, headers in literals: stream 1.
	const path = "/conclave.v1.ExpertService/Dispatch"
	headers := "\x83\x86\x41\x01a\x44" + string(rune(len(path))) + path +
		"\x5f\x10application/grpc\x40\x02te\x08trailers"
	opened := append([]byte{0, 0, byte(len(headers)), 1, 4, 0, 0, 0, 1}, headers...)
	announced := []byte{0, 0, 6, 0, 0, 0, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 1}
	bodies := [][]byte{
		append(bytes.Clone(opened), announced...), announced, opened,
		frame("\xff\xff\xff\x00\x00\x00\x00\x00\x01", 100),
		frame("\x00\x40\x00\x01\x00\x00\x00\x00\x01", 16<<10),
		bytes.Repeat([]byte("\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"), 1000),
		bytes.Repeat([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), 1000),
		bytes.Repeat([]byte("\x00\x00\x01\x01\x05\x00\x00\x00\x01\x82\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"), 500),
	}
	if rng.IntN(8) == 0 {
		return faultnet.Noise(rng, 4000)
	}
	return append(bytes.Clone(greeting), pick(rng, bodies...)...)
}

func brokenGossip(rng *rand.Rand) []byte {
	label := "\xf4\x10conclave/default"
	return append([]byte(label), pick(rng,
		[]byte("\x06\x82\xa5Nodes\xce\x00\x10\x00\x00\xacUserStateLen\xce\x7f\xff\xff\xff"),
		[]byte("\x08\x81\xaaUserMsgLen\xce\x01\x3f\xff\xff"),
		[]byte("\x00\x82\xa5SeqNo\x01\xa4Node\xdb\xff\xff\xff\xf0"),
		[]byte("\x09\x82\xa4Algo\x00\xa3Buf\xdb\xff\xff\xff\xf0"),
		[]byte("\x0a\x01\x3f\xff\xff\x01"), []byte("\x0a\xff\xff\xff\xff"), []byte("\x07\xff\x00\x00"),
	)...)
}

// processFiles counts a process's open files.
func processFiles(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
