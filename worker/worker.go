package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-serve/conclave/internal/host"
	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// Config is what a worker is made of. Zero values mean the defaults.
type Config struct {
	// ID names the worker across restarts; required.
	ID string
	// ModelDir is the checkpoint; required. Weights, if not nil, is where its weight
	// files come from; it outlives the worker.
	ModelDir string
	Weights  safetensors.Source
	// OriginOnly keeps the worker from reading experts from other workers first.
	// It counts only where Weights is a safetensors.Remote.
	OriginOnly bool
	// Listen is the address of the expert service; default "127.0.0.1:0".
	// Advertise is the host (with or without port) that coordinators dial;
	// default: the host of Listen.
	Listen, Advertise string
	// MetricsListen is the HTTP address of /metrics, /healthz and /readyz; default
	// none.
	MetricsListen string
	// Registry says where etcd is; Gossip how this process gossips. Identity
	// and addresses are filled in.
	Registry membership.Config
	Gossip   membership.GossipConfig
	// Zone is the failure domain, if any.
	Zone string
	// Quant is what experts are quantised to as they are loaded: that of all workers
	// and coordinators of the cluster. Default none.
	Quant shard.Quant
	// Capacity bounds the bytes of experts; 0 means no bound.
	Capacity int64
	// Threads is the number of cores to compute on; default all.
	Threads int
	// Pin says whether these are bound to processors; default host.PinAuto.
	Pin host.Pin
	// MaxMessage bounds requests and replies; default 256 MB.
	MaxMessage int
	// DrainTimeout bounds how long a stopping worker waits for others to take
	// its experts; default 30 s.
	DrainTimeout time.Duration
	// Progress, if set, hears of loading.
	Progress Progress
	Log      *slog.Logger

	nodes *shard.Nodes // in place of this machine's: for tests
}

// Progress hears of loading: Begin with the bytes to come, Add as they arrive.
type Progress interface {
	Begin(total int64)
	Add(bytes int64)
}

func (c *Config) setDefaults() error {
	if c.ID == "" || c.ModelDir == "" {
		return errors.New("worker: id and model directory are required")
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.Threads == 0 {
		c.Threads = runtime.GOMAXPROCS(0)
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 256 << 20
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Worker is a worker process: an expert server that follows the plan.
type Worker struct {
	cfg        Config
	log        *slog.Logger
	id         Identity
	spec       *model.Spec
	checkpoint *safetensors.Checkpoint
	store      *shard.Store
	nodes      *shard.Nodes // that experts lie on; nil if there is one
	pool       *kernels.Pool
	server     *Server
	offer      *offer
	spans      expertSpans
	weights    *comparedSource // nil for a folder
	listener   net.Listener
	watchers   net.Listener // nil without MetricsListen
	events     progressEvents

	seat   *membership.Seat[membership.Worker]
	joined atomic.Bool                      // seat is there
	state  atomic.Pointer[membership.State] // the newest
	// brokenPlan is what was said of a plan that cannot be read, keptFor the coordinator for
	// which experts are kept; who follows owns them.
	brokenPlan, keptFor string
}

// New opens the checkpoint and the listening socket, so that bad input is
// reported before anything runs.
func New(ctx context.Context, cfg Config) (_ *Worker, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	w := &Worker{
		cfg: cfg, log: cfg.Log.With("worker", cfg.ID), events: progressEvents{to: cfg.Progress},
	}
	defer func() {
		if err != nil {
			w.release()
		}
	}()
	if w.spec, err = model.Read(cfg.ModelDir); err != nil {
		return nil, err
	}
	w.checkpoint, err = safetensors.OpenFrom(ctx, cfg.ModelDir, w.source())
	if err != nil {
		return nil, err
	}
	if err = w.spec.Check(w.checkpoint); err != nil {
		return nil, err
	}
	w.id = Identity{ID: cfg.ID, Incarnation: membership.NewIncarnation()}
	fingerprint, err := w.spec.Fingerprint(ctx, cfg.ModelDir, w.checkpoint)
	if err != nil {
		return nil, err
	}
	w.cfg.Quant = cfg.Quant.For(w.spec, w.checkpoint)
	w.id.Model = w.cfg.Quant.Model(fingerprint)
	if w.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("listen for coordinators: %w", err)
	}
	if cfg.MetricsListen != "" {
		if w.watchers, err = net.Listen("tcp", cfg.MetricsListen); err != nil {
			return nil, fmt.Errorf("listen for metrics: %w", err)
		}
	}
	if err = w.place(); err != nil {
		return nil, err
	}
	w.store = shard.NewQuantizedStore(w.spec, w.checkpoint, w.cfg.Quant).On(w.nodes)
	w.server = NewServer(w.id, w.spec, w.store, w.pool, cfg.MaxMessage)
	w.server.log = w.log
	w.offer = w.server.offerWeights(w.checkpoint)
	if w.spans, err = findExperts(w.spec, w.checkpoint); err != nil {
		return nil, err
	}
	w.meetPeers()
	return w, nil
}

// place starts the threads where they belong, and finds out where weights do.
func (w *Worker) place() error {
	threads := w.cfg.Threads
	place, err := host.Place(w.cfg.Pin, threads)
	if err != nil {
		return err
	}
	w.log.Debug("threads placed", "threads", threads, "bound", place.Bound(), "nodes", place.Nodes())
	w.pool = kernels.NewPoolWith(kernels.PoolConfig{
		Threads: threads, Bind: place.Bind(), Nodes: place.Nodes(),
	})
	w.nodes = w.cfg.nodes
	if w.nodes == nil {
		w.nodes = shard.NewNodes(shard.NodesConfig{Memory: place.Memory(), Log: w.log})
	}
	return nil
}

func (w *Worker) release() {
	w.restPeers()
	if w.listener != nil {
		_ = w.listener.Close() // already closed by the server when it ran
	}
	if w.watchers != nil {
		_ = w.watchers.Close() // likewise
	}
	if w.pool != nil {
		w.pool.Close()
	}
	if w.checkpoint != nil {
		_ = w.checkpoint.Close() // read-only mappings
	}
}

// Run serves until ctx ends, hands its experts over and leaves. It may be
// called once.
func (w *Worker) Run(ctx context.Context) (err error) {
	defer w.release()
	serving := make(chan error, 1)
	go func() { serving <- w.server.Serve(w.listener) }()
	defer func() {
		w.server.Stop()
		err = errors.Join(err, <-serving)
	}()
	if w.watchers != nil {
		pages, wrong := w.pages()
		if wrong != nil {
			return wrong
		}
		end := watch(w.watchers, pages, w.log)
		defer func() { err = errors.Join(err, end()) }()
	}
	if err := w.join(ctx); err != nil {
		return err
	}
	defer w.leave()

	// Not ended by ctx: a stopping worker must come to drain, not return
	// because following has ended.
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	var acquainting sync.WaitGroup
	defer acquainting.Wait()
	acquainting.Go(func() { w.seat.Gossip.Acquaint(following, w.peers) })
	acquainting.Go(func() { w.reconsider(following) })
	dismissed := make(chan struct{})
	var obeying sync.WaitGroup
	defer obeying.Wait()
	defer stop()
	obeying.Go(func() { w.obey(following, w.seat.Client.Watch(following), dismissed) })
	followed := make(chan error, 1)
	go func() { followed <- w.follow(following, w.seat.Client.Watch(following)) }()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.shareLoad()
		case <-ctx.Done():
			stop()
			<-followed
			obeying.Wait()
			draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.DrainTimeout)
			defer cancel()
			w.drain(draining)
			return nil
		case <-dismissed:
			stop()
			<-followed
			return nil
		case err := <-followed:
			stop()
			return err
		case <-w.seat.Registration.Lost():
			stop()
			<-followed
			return fmt.Errorf("worker %s: another process registered under the same id; "+
				"give each a --id of its own", w.id.ID)
		case err := <-serving:
			serving <- err // joined to what Run returns
			stop()
			<-followed
			return nil
		}
	}
}

// join takes this worker's seat in the cluster.
func (w *Worker) join(ctx context.Context) error {
	addr, err := membership.AdvertisedAddr(w.listener.Addr(), w.cfg.Advertise)
	if err != nil {
		return fmt.Errorf("worker %s: %w", w.id.ID, err)
	}
	bandwidth, compute := probe(w.pool, w.expertBytes())
	g := w.cfg.Gossip
	g.ID, g.Incarnation, g.Addr = w.id.ID, w.id.Incarnation, addr
	g.Role, g.Log = membership.RoleWorker, w.log
	w.seat, err = membership.TakeSeat(ctx, w.cfg.Registry, g,
		func(c *membership.Client, gossip string) (*membership.Registration[membership.Worker], error) {
			if err := sameQuant(ctx, c, w.id); err != nil {
				return nil, err
			}
			order, err := c.OrderFor(ctx, w.id.ID)
			if err != nil {
				return nil, err
			}
			return c.RegisterWorker(ctx, membership.Worker{
				ID: w.id.ID, Incarnation: w.id.Incarnation, Addr: addr, Gossip: gossip,
				Zone: w.cfg.Zone, Model: w.id.Model, Capacity: w.cfg.Capacity,
				Memory: machineMemory("/"), Bandwidth: bandwidth, Compute: compute,
				Draining: order.Do == membership.OrderKeep,
				Ready:    make([]string, len(w.spec.Layers)),
			})
		})
	if err != nil {
		return err
	}
	w.joined.Store(true)
	w.log.Info("worker registered",
		"addr", addr, "model", w.id.Model[:12], "quantization", w.cfg.Quant.String(),
		"kernels", kernels.Features(),
		"bandwidth", bandwidth, "compute", compute)
	return nil
}

// expertBytes is the size of all experts of the model.
func (w *Worker) expertBytes() int64 {
	var sum int64
	for l, layer := range w.spec.Layers {
		if layer.MoE != nil {
			sum += int64(len(layer.MoE.Experts)) * w.cfg.Quant.ExpertBytes(w.spec, w.checkpoint, l)
		}
	}
	return sum
}

func (w *Worker) leave() {
	if err := w.seat.Leave(); err != nil {
		w.log.Debug("left with errors", "err", err)
	}
}

// peers lists whom this process should gossip with.
func (w *Worker) peers() []string {
	if state := w.state.Load(); state != nil {
		return state.GossipPeers()
	}
	return nil
}

// shareLoad tells the others how busy this worker is.
func (w *Worker) shareLoad() {
	l := w.server.Load()
	w.seat.Gossip.SetMeta(w.seat.Registration.Value().PlanEpoch,
		membership.Load{Queue: float32(l.Queued)})
}

// progressEvents counts what is loaded, and forwards it to a Progress, if there is
// one.
type progressEvents struct {
	to          Progress
	total, done atomic.Int64 // bytes
}

func (p *progressEvents) loading(total int64) {
	p.total.Store(p.done.Load() + total) // what a load that failed has left is read again
	if p.to != nil && total > 0 {
		p.to.Begin(total)
	}
}

func (p *progressEvents) loaded(bytes int64) {
	p.done.Add(bytes)
	if p.to != nil {
		p.to.Add(bytes)
	}
}
