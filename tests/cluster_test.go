package tests

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/coordinator/lastresort"
	"github.com/conclave-serve/conclave/internal/host"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
	"github.com/conclave-serve/conclave/worker"
)

// cluster is a coordinator's forward pass in this process, with workers behind
// real gRPC on loopback.
type cluster struct {
	threads    int
	steps      int // taken so far: every other one in two micro-batches
	spec       *model.Spec
	checkpoint *safetensors.Checkpoint
	cache      *kvcache.Cache
	model      *forward.Model
	dispatcher *dispatch.Dispatcher
	workers    []*testWorker
	plan       *shard.Plan
	experts    shard.Quant
	nodes      int
}

type testWorker struct {
	id     shard.WorkerID
	addr   string
	store  *shard.Store
	server *worker.Server
}

const (
	testModel   = "test"
	testMaxRows = 1024
)

func startCluster(t testing.TB, dir string, workers int) *cluster {
	return startClusterWire(t, dir, workers, wire.F32)
}

func startClusterWire(t testing.TB, dir string, workers int, format wire.Format) *cluster {
	return startClusterOf(t, dir, workers, format, 2)
}

// startClusterOf starts a cluster whose processes have so many threads each, with
// a last resort if asked for.
func startClusterOf(
	t testing.TB, dir string, workers int, format wire.Format, threads int, resort ...bool,
) *cluster {
	t.Helper()
	return startClusterAs(t, dir, workers, setting{
		format: format, threads: threads, resort: len(resort) > 0 && resort[0],
	})
}

// setting is what a cluster's processes are told: quants are what they quantise
// experts, and the coordinator its own weights, to; nodes the memory nodes that
// they think their threads are on, if several.
type setting struct {
	format             wire.Format
	threads            int
	resort             bool
	experts, attention shard.Quant
	nodes              int
}

func startClusterAs(t testing.TB, dir string, workers int, s setting) *cluster {
	t.Helper()
	c := &cluster{threads: s.threads, experts: s.experts, nodes: s.nodes}
	var err error
	if c.spec, err = model.Read(dir); err != nil {
		t.Fatal(err)
	}
	if c.checkpoint, err = safetensors.Open(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.checkpoint.Close() })
	if err := c.spec.Check(c.checkpoint); err != nil {
		t.Fatal(err)
	}
	shape := forward.CacheShape(c.spec)
	shape.Bytes, shape.Step = 64<<20, testMaxRows
	c.cache, err = kvcache.New(shape)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cache.Close() })
	for i := range workers {
		c.workers = append(c.workers, c.startWorker(t, fmt.Sprintf("w%d", i)))
	}
	pool, nodes := c.place()
	t.Cleanup(pool.Close)
	cfg := dispatch.Config{
		Model: testModel, Experts: c.expertCounts(), Hidden: c.spec.Hidden, Format: s.format,
		Pool: pool, CallTimeout: 20 * time.Second, Patience: 10 * time.Second,
	}
	if s.resort {
		cfg.LastResort = lastresort.New(c.spec, c.checkpoint, s.experts, pool)
	}
	c.dispatcher, err = dispatch.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.dispatcher.Close)
	c.model, err = forward.New(t.Context(), forward.Config{
		Spec: c.spec, Checkpoint: c.checkpoint, Cache: c.cache, Pool: pool, Experts: c.dispatcher,
		Quant: s.attention, Nodes: nodes, MaxRows: testMaxRows, MaxLogits: testMaxRows,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.replan(t, c.workers...)
	c.await(t)
	return c
}

func (c *cluster) expertCounts() []int {
	counts := make([]int, len(c.spec.Layers))
	for l, layer := range c.spec.Layers {
		if layer.MoE != nil {
			counts[l] = len(layer.MoE.Experts)
		}
	}
	return counts
}

// place deals a process's threads to its nodes, and says where weights lie then.
func (c *cluster) place() (*kernels.Pool, *shard.Nodes) {
	cfg := kernels.PoolConfig{Threads: c.threads}
	memory := make(host.Memory, c.nodes)
	for i := range c.threads {
		if c.nodes > 1 {
			cfg.Nodes = append(cfg.Nodes, i%c.nodes)
			memory[i%c.nodes].Threads++
		}
	}
	return kernels.NewPoolWith(cfg), shard.NewNodes(shard.NodesConfig{
		Memory: memory, Binder: anywhere{}, Mappings: 1 << 16,
	})
}

// anywhere takes memory for nodes that this machine has not.
type anywhere struct{}

func (anywhere) Bind([]byte, int) error { return nil }

func (c *cluster) startWorker(t testing.TB, id string) *testWorker {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pool, nodes := c.place()
	store := shard.NewQuantizedStore(c.spec, c.checkpoint, c.experts).On(nodes)
	identity := worker.Identity{ID: id, Incarnation: id + "-1", Model: testModel}
	w := &testWorker{
		id: shard.WorkerID(id), addr: lis.Addr().String(), store: store,
		server: worker.NewServer(identity, c.spec, store, pool, 64<<20),
	}
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(lis) }()
	t.Cleanup(func() {
		w.server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		pool.Close()
	})
	return w
}

// replan places the experts on the given workers, loads them there, and tells
// the dispatcher.
func (c *cluster) replan(t testing.TB, workers ...*testWorker) {
	t.Helper()
	var capacity []shard.Capacity
	for _, w := range workers {
		capacity = append(capacity, shard.Capacity{ID: w.id})
	}
	var layers []shard.Layer
	for _, n := range c.expertCounts() {
		layers = append(layers, shard.Layer{Experts: n, ExpertBytes: 1})
	}
	plan, err := shard.Next(c.plan, testModel, layers, capacity, 1)
	if err != nil {
		t.Fatal(err)
	}
	c.plan = plan
	for _, w := range workers {
		for l, set := range plan.Assigned(w.id) {
			if err := w.store.Load(t.Context(), l, set, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.update(workers...)
}

// replicate gives all experts to all workers, whatever the plan.
func (c *cluster) replicate(t testing.TB) {
	t.Helper()
	for _, w := range c.workers {
		for l, n := range c.expertCounts() {
			var all shard.Set
			for e := range n {
				all.Add(e)
			}
			if err := w.store.Load(t.Context(), l, all, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.plan = nil // else only those that it names are asked
	c.update(c.workers...)
	for {
		changed := c.dispatcher.Changed()
		if c.lanes() == len(c.workers) {
			return
		}
		<-changed
	}
}

// lanes is how many workers can be reached.
func (c *cluster) lanes() (n int) {
	for _, h := range c.dispatcher.Table().Holders {
		if h.Reachable {
			n++
		}
	}
	return n
}

func (c *cluster) update(workers ...*testWorker) {
	var list []dispatch.Worker
	for _, w := range workers {
		list = append(list, dispatch.Worker{
			ID: w.id, Incarnation: string(w.id), Addr: w.addr, Ready: w.store.Held(),
		})
	}
	c.dispatcher.Update(c.plan, list)
}

// await waits until every expert can be reached.
func (c *cluster) await(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		changed := c.dispatcher.Changed()
		if c.dispatcher.Table().Complete() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("experts out of reach: %s", c.dispatcher.Table().Missing())
		}
	}
}

// testSequence is a sequence, the length of its prompt, and the number of
// tokens that are in the cache.
type testSequence struct {
	kv     kvcache.Sequence
	prompt int
	len    int
}

func (c *cluster) sequence(prompt int) *testSequence { return &testSequence{prompt: prompt} }

// rows lays out the next tokens of s.
func (c *cluster) rows(t testing.TB, s *testSequence, tokens []int32, all bool) []forward.Row {
	t.Helper()
	if !c.cache.Grow(&s.kv, s.len, s.len+len(tokens)) {
		t.Fatal("the cache is full")
	}
	var rows []forward.Row
	for i, token := range tokens {
		rows = append(rows, forward.Row{
			Token: token, Pos: s.len + i, Seq: &s.kv, Logits: all || i == len(tokens)-1,
			Expand: forward.Expands(s.len+i, s.prompt),
		})
	}
	s.len += len(tokens)
	return rows
}

func (c *cluster) step(t testing.TB, rows []forward.Row) []float32 {
	t.Helper()
	c.dispatcher.Begin()
	defer c.dispatcher.End()
	parts := 1 // whoever traces wants to see the rows together
	if c.steps++; c.model.Trace == nil && c.model.TraceChoice == nil {
		parts += c.steps % forward.MicroBatches
	}
	logits, err := c.model.Step(t.Context(), rows, parts)
	if err != nil {
		t.Fatal(err)
	}
	return append([]float32(nil), logits...)
}

// advance runs tokens in chunks and returns the logits of the last position,
// or of all of them.
func (c *cluster) advance(t testing.TB, s *testSequence, tokens []int32, chunk int, all bool) []float32 {
	t.Helper()
	var out []float32
	for len(tokens) > 0 {
		n := min(chunk, len(tokens))
		logits := c.step(t, c.rows(t, s, tokens[:n], all))
		if all {
			out = append(out, logits...)
		} else {
			out = logits
		}
		tokens = tokens[n:]
	}
	return out
}

// prefill returns the logits of every position of a prompt.
func (c *cluster) prefill(t testing.TB, prompt []int32, chunk int) []float32 {
	t.Helper()
	s := c.sequence(len(prompt))
	defer c.cache.Release(&s.kv)
	return c.advance(t, s, prompt, chunk, true)
}
