//go:build linux

package chaos

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator"
	"github.com/conclave-serve/conclave/internal/demo"
	"github.com/conclave-serve/conclave/internal/faultnet"
)

const (
	// leaseTTL is short, so that plans change in the midst of faults.
	leaseTTL = "2s"
	// cacheBytes is the size of the cache that can be full; the demo model takes 6 MB.
	cacheBytes = 16 << 20
	// settling bounds the wait for a whole cluster. It includes the times that lanes and
	// kernels wait before they try again, which grow up to half a minute.
	settling = 90 * time.Second
)

// cluster is an etcd, coordinators, and workers of which the last loads the model
// from a URL and the others from a folder.
type cluster struct {
	net             network
	apart           bool // hosts have namespaces of their own
	dir             string
	program         string // conclave
	etcd            *process
	fronts, workers []*process
	spare           *process       // one more worker, seldom running
	clients         []*http.Client // to the fronts
	origin          *origin
	load            *load
	joined          time.Duration // how long the spare took at most to be asked
}

// startCluster builds the programs and starts them.
func startCluster(t *testing.T, dir string, s shape) *cluster {
	t.Helper()
	c := &cluster{dir: dir}
	c.net, c.apart = startNetwork(t, s)
	t.Cleanup(c.net.close)
	conclave := build(t, dir, "conclave", "../../cmd/conclave")
	etcd := build(t, dir, "etcd", "../hosts/etcd")
	model, err := demo.Unpack(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.origin = startOrigin(t, c.net, model)
	c.etcd = newProcess(t, c.net, dir, "etcd", 0, etcd, c.net.listenAddr(0), c.etcdData())
	for i := range s.Fronts {
		c.addFront(t, conclave, model, i, s)
	}
	c.program = conclave
	for i := range s.Workers {
		source := model
		if i == s.Workers-1 {
			source = c.origin.url
			c.makeCache(t, 1+s.Fronts+i)
		}
		c.workers = append(c.workers, c.newWorker(t, i, s, source))
	}
	c.spare = c.newWorker(t, s.Workers, s, model)
	for _, p := range c.all() {
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// newWorker describes a worker. Where hosts have addresses of their own, it tells of
// its goroutines.
func (c *cluster) newWorker(t *testing.T, i int, s shape, source string) *process {
	host, name := 1+s.Fronts+i, fmt.Sprintf("worker-%d", i+1)
	command := []string{
		c.program, "worker", "--id", name, "--model", source,
		"--cache-dir", c.cacheDir(), "--listen", c.net.listenAddr(host),
		"--advertise", c.net.reach(0, host), "--etcd", c.net.reach(host, 0),
		"--lease-ttl", leaseTTL, "--log-level", "debug",
	}
	if c.apart {
		command = append(command, "--metrics-listen", fmt.Sprintf(":%d", metricsPort))
	}
	return newProcess(t, c.net, c.dir, name, host, command...)
}

// addFront adds a coordinator. The first one keeps no prefixes, so that every prompt
// is computed, and has the last resort; others lean on replicas alone.
func (c *cluster) addFront(t *testing.T, conclave, model string, i int, s shape) {
	t.Helper()
	host, name := 1+i, fmt.Sprintf("coordinator-%d", i+1)
	command := []string{
		conclave, "coordinator", "--id", name, "--model", model, "--model-name", demo.Name,
		"--listen", c.net.listenAddr(host), "--advertise", c.net.reach(0, host),
		"--etcd", c.net.reach(host, 0), "--min-workers", fmt.Sprint(s.Workers),
		"--lease-ttl", leaseTTL, "--log-level", "debug", "--kv-memory", "64MiB",
		"--rebalance-every", "1s",
	}
	if i == 0 {
		command = append(command, "--no-prefix-caching")
	} else {
		command = append(command, "--no-last-resort")
	}
	c.fronts = append(c.fronts, newProcess(t, c.net, c.dir, name, host, command...))
	transport := &http.Transport{DialContext: c.net.dial(host)}
	t.Cleanup(transport.CloseIdleConnections)
	c.clients = append(c.clients, &http.Client{Transport: transport})
}

// startNetwork makes namespaces where it may, and relays elsewhere.
func startNetwork(t *testing.T, s shape) (n network, apart bool) {
	t.Helper()
	err := errors.New("-chaos.loopback was given")
	var spaces *namespaces
	if !given.loopback {
		spaces, err = newNamespaces(1 + s.Fronts + s.Workers + 1)
	}
	if err == nil {
		t.Log("each process has a network namespace of its own, joined by a switch in this process")
		return spaces, true
	}
	t.Logf("loopback and relays, without network namespaces: %v", err)
	r, err := newRelays(s.Fronts, s.Workers+1)
	if err != nil {
		t.Fatal(err)
	}
	return r, false
}

func build(t *testing.T, dir, name, pkg string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

func (c *cluster) all() []*process {
	return slices.Concat([]*process{c.etcd}, c.fronts, c.workers)
}

func (c *cluster) etcdData() string { return filepath.Join(c.dir, "etcd-data") }
func (c *cluster) cacheDir() string { return filepath.Join(c.dir, "cache") }

// makeCache gives the worker that loads from a URL a disk of its own.
func (c *cluster) makeCache(t *testing.T, host int) {
	t.Helper()
	if err := os.MkdirAll(c.cacheDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if !c.apart {
		return
	}
	err := c.net.do(host, func() error {
		size := fmt.Sprintf("size=%d", cacheBytes)
		return syscall.Mount("conclave-chaos", c.cacheDir(), "tmpfs", 0, size)
	})
	if err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
}

// status asks a coordinator what it knows.
func (c *cluster) status(ctx context.Context, front int) (coordinator.Status, error) {
	var s coordinator.Status
	body, err := c.get(ctx, front, coordinator.StatusPath)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

func (c *cluster) get(ctx context.Context, front int, path string) ([]byte, error) {
	return get(ctx, c.clients[front], "http://"+c.net.listenAddr(c.fronts[front].host)+path)
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// whole says what a cluster lacks until everything is as it was at first. A worker
// that was made to restart too often is on probation, and then has no experts.
func (c *cluster) whole(ctx context.Context) error {
	for i, front := range c.fronts {
		s, err := c.status(ctx, i)
		if err != nil {
			return fmt.Errorf("%s: %w", front.name, err)
		}
		lanes := 0
		for _, w := range s.Workers {
			if w.Lane && !w.Draining {
				lanes++
			}
		}
		if !s.Ready || !s.Settled || !s.Registry || lanes != len(c.workers) ||
			len(s.Workers) != len(c.workers) || len(s.Coordinators) != len(c.fronts) ||
			s.ReplicasLeast < 2 {
			return fmt.Errorf("%s: ready %v, settled %v, registry %v, epoch %d, %d coordinators, "+
				"%d workers of which %d serve, %d copies at least, %s", front.name, s.Ready, s.Settled,
				s.Registry, s.PlanEpoch, len(s.Coordinators), len(s.Workers), lanes, s.ReplicasLeast,
				s.Missing)
		}
	}
	return nil
}

// await polls a condition until it has no more to complain about.
func await(ctx context.Context, limit time.Duration, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", limit, err)
		}
	}
}

// link makes both ways between two hosts like l.
func (c *cluster) link(a, b int, l faultnet.Link) {
	c.net.set(a, b, l)
	c.net.set(b, a, l)
}

// isolate makes all ways to and from a host like l.
func (c *cluster) isolate(host int, l faultnet.Link) {
	for _, p := range c.all() {
		if p.host != host {
			c.link(host, p.host, l)
		}
	}
}

// oddities are the ends of processes that nobody asked for.
func (c *cluster) oddities() error {
	var errs []error
	for _, p := range c.all() {
		errs = append(errs, p.oddity())
	}
	return errors.Join(errs...)
}

// origin serves the model by HTTP.
type origin struct {
	url  string
	flip atomic.Bool // a bit of the next tensors that it sends
}

func startOrigin(t *testing.T, n network, model string) *origin {
	t.Helper()
	listener, err := n.listen(0)
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{url: "http://" + listener.Addr().String()}
	files := http.FileServer(http.Dir(model))
	tensors := firstTensor(t, filepath.Join(model, "model.safetensors"))
	serve := func(w http.ResponseWriter, r *http.Request) {
		var from, last int64
		_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &last)
		if err == nil && from >= tensors && last-from > sampleBytes &&
			strings.HasSuffix(r.URL.Path, ".safetensors") {
			w = &flipper{ResponseWriter: w, origin: o}
		}
		files.ServeHTTP(w, r)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(serve))
	_ = server.Listener.Close() // httptest's own
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return o
}

// firstTensor is where the header of a weight file ends.
func firstTensor(t *testing.T, path string) int64 {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var header uint64
	if err := binary.Read(file, binary.LittleEndian, &header); err != nil {
		t.Fatal(err)
	}
	return 8 + int64(header)
}

// flipper flips a bit in the midst of a piece of the body, if the origin is to.
type flipper struct {
	http.ResponseWriter
	origin *origin
}

// sampleBytes: shorter ranges may be the samples that the fingerprint is made of, which
// are refused as another checkpoint.
const sampleBytes = 64 << 10

// pieceBytes: a flip in the midst of a shorter piece may be outside of any expert.
const pieceBytes = 8 << 10

func (f *flipper) Write(b []byte) (int, error) {
	if len(b) > pieceBytes && f.origin.flip.CompareAndSwap(true, false) {
		b = slices.Clone(b)
		b[len(b)/2] ^= 0x40
	}
	return f.ResponseWriter.Write(b)
}
