package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/internal/synth"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
	"github.com/conclave-serve/conclave/worker"
)

// Source says which checkpoint is measured.
type Source struct {
	// Dir is a checkpoint's folder. Else one with random values is written to a folder that is
	// removed in the end, of the shapes of Config, a config.json, with fewer Layers and Experts
	// unless they are 0.
	Dir             string
	Config          string
	Layers, Experts int
}

// open returns the folder, and what removes it.
func (s Source) open(ctx context.Context) (dir string, remove func() error, err error) {
	if s.Dir != "" {
		return s.Dir, func() error { return nil }, nil
	}
	if dir, err = os.MkdirTemp("", "conclave-bench-"); err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	_, err = synth.Run(ctx, synth.Config{
		File: s.Config, Out: dir, Layers: s.Layers, Experts: s.Experts, Seed: 1,
	})
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return dir, remove, nil
}

// rigModel is the fingerprint by which the two ends know each other.
const rigModel = "conclave-bench"

// checkpoint is an open one.
type checkpoint struct {
	spec    *model.Spec
	tensors *safetensors.Checkpoint
}

func openCheckpoint(dir string) (*checkpoint, error) {
	spec, err := model.Read(dir)
	if err != nil {
		return nil, err
	}
	tensors, err := safetensors.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := spec.Check(tensors); err != nil {
		return nil, errors.Join(err, tensors.Close())
	}
	return &checkpoint{spec, tensors}, nil
}

// expertCounts is the number of routed experts in each layer.
func (c *checkpoint) expertCounts() []int {
	counts := make([]int, len(c.spec.Layers))
	for l := range c.spec.Layers {
		if moe := c.spec.Layers[l].MoE; moe != nil {
			counts[l] = len(moe.Experts)
		}
	}
	return counts
}

// rigWorker is a worker that listens, without a cluster.
type rigWorker struct {
	store    *shard.Store
	server   *worker.Server
	listener net.Listener
	pool     *kernels.Pool
	served   chan error
}

// maxMessage bounds what goes between the two ends.
const maxMessage = 256 << 20

// startWorker takes over the listener.
func startWorker(
	c *checkpoint, id string, listener net.Listener, threads int, quant shard.Quant,
) *rigWorker {
	w := &rigWorker{
		store: shard.NewQuantizedStore(c.spec, c.tensors, quant), listener: listener,
		pool: kernels.NewPool(threads), served: make(chan error, 1),
	}
	identity := worker.Identity{ID: id, Incarnation: id, Model: rigModel}
	w.server = worker.NewServer(identity, c.spec, w.store, w.pool, maxMessage)
	go func() { w.served <- w.server.Serve(listener) }()
	return w
}

func (w *rigWorker) close() error {
	w.server.Stop()
	err := <-w.served
	w.pool.Close()
	return err
}

// rig is a coordinator's forward pass and its workers, in this process, over loopback.
type rig struct {
	*checkpoint
	cache      *kvcache.Cache
	pool       *kernels.Pool
	dispatcher *dispatch.Dispatcher
	model      *forward.Model
	workers    []*rigWorker
}

// rigConfig sizes a rig.
type rigConfig struct {
	workers, threads int
	wire             wire.Format
	attention        shard.Quant
	experts          shard.Quant
	maxRows          int
	sequences        int // that the cache has room for, of so many positions each
	positions        int
	onAnswered       func()
}

// newRig loads a checkpoint into the two ends and connects them.
func newRig(ctx context.Context, c *checkpoint, cfg rigConfig) (_ *rig, err error) {
	r := &rig{checkpoint: c, pool: kernels.NewPool(cfg.threads)}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	shape := forward.CacheShape(c.spec)
	shape.Step = cfg.maxRows
	pages := cfg.sequences * (cfg.positions/kvcache.PageTokens + 2)
	shape.Bytes = int64(pages) * kvcache.PageTokens * 4 *
		int64((shape.Keys+shape.Values)*len(c.spec.Layers))
	if r.cache, err = kvcache.New(shape); err != nil {
		return nil, err
	}
	if err = r.hire(ctx, cfg); err != nil {
		return nil, err
	}
	r.model, err = forward.New(ctx, forward.Config{
		Spec: c.spec, Checkpoint: c.tensors, Cache: r.cache, Pool: r.pool, Experts: r.dispatcher,
		MaxRows: cfg.maxRows, MaxLogits: min(cfg.maxRows, cfg.sequences), Quant: cfg.attention,
	})
	return r, err
}

// hire starts workers, gives them their parts of the experts, and waits for their lanes.
func (r *rig) hire(ctx context.Context, cfg rigConfig) (err error) {
	r.dispatcher, err = dispatch.New(dispatch.Config{
		Model: rigModel, Experts: r.expertCounts(), Hidden: r.spec.Hidden, Format: cfg.wire,
		OnAnswered: cfg.onAnswered, Pool: r.pool, MaxMessage: maxMessage,
	})
	if err != nil {
		return err
	}
	var capacity []shard.Capacity
	for i := range cfg.workers {
		id := fmt.Sprintf("worker-%d", i+1)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		w := startWorker(r.checkpoint, id, listener, cfg.threads, cfg.experts)
		r.workers = append(r.workers, w)
		capacity = append(capacity, shard.Capacity{ID: shard.WorkerID(id)})
	}
	var layers []shard.Layer
	for _, n := range r.expertCounts() {
		layers = append(layers, shard.Layer{Experts: n, ExpertBytes: 1})
	}
	plan, err := shard.Next(nil, rigModel, layers, capacity, 1)
	if err != nil {
		return err
	}
	var known []dispatch.Worker
	for i, w := range r.workers {
		id := capacity[i].ID
		for l, set := range plan.Assigned(id) {
			if err := w.store.Load(ctx, l, set, nil); err != nil {
				return err
			}
		}
		known = append(known, dispatch.Worker{
			ID: id, Incarnation: string(id), Addr: w.listener.Addr().String(),
			Ready: w.store.Held(),
		})
	}
	r.dispatcher.Update(plan, known)
	return awaitTable(ctx, r.dispatcher)
}

// laneTimeout is how long connecting may take.
const laneTimeout = 20 * time.Second

// awaitTable waits until every expert can be reached.
func awaitTable(ctx context.Context, d *dispatch.Dispatcher) error {
	ctx, cancel := context.WithTimeout(ctx, laneTimeout)
	defer cancel()
	for {
		changed := d.Changed()
		if d.Table().Complete() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("connect to the workers: %w; out of reach: %s", ctx.Err(),
				d.Table().Missing())
		}
	}
}

// close ends everything that the rig has started, but not the checkpoint.
func (r *rig) close() (err error) {
	if r.dispatcher != nil {
		r.dispatcher.Close()
	}
	for _, w := range r.workers {
		err = errors.Join(err, w.close())
	}
	if r.cache != nil {
		err = errors.Join(err, r.cache.Close())
	}
	r.pool.Close()
	return err
}

// hops sums where the time of calls went, over all workers.
func (r *rig) hops() (sum dispatch.Hops) {
	for _, h := range r.dispatcher.Hops() {
		sum.Calls += h.Calls
		sum.Network += h.Network
		sum.Queue += h.Queue
		sum.Compute += h.Compute
	}
	return sum
}
