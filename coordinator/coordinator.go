package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/coordinator/lastresort"
	"github.com/conclave-serve/conclave/coordinator/openai"
	"github.com/conclave-serve/conclave/internal/border"
	"github.com/conclave-serve/conclave/internal/chat"
	"github.com/conclave-serve/conclave/internal/host"
	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/internal/obs"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/internal/tokenizer"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/shard"
)

// Config is what a coordinator is made of. Zero values mean the defaults.
type Config struct {
	// ID names the coordinator across restarts; required.
	ID string
	// ModelDir is the checkpoint, ModelName what clients call it; required.
	// Weights, if not nil, is where its weight files come from; it outlives the
	// coordinator.
	ModelDir, ModelName string
	Weights             safetensors.Source
	// RopeScaling replaces the rotary scaling of config.json: a JSON object as
	// it would stand there; "" keeps it.
	RopeScaling string
	// ToolFormat names the way in which the model writes reasoning and tool
	// calls, see chat.DialectNamed; "" or "auto": what its template suggests.
	ToolFormat string
	// Listen is the address of the HTTP API; default "127.0.0.1:8080".
	// Advertise is the host (with or without port) that others are told;
	// default: the host of Listen.
	Listen, Advertise string
	// Registry says where etcd is; Gossip how this process gossips. Identity
	// and addresses are filled in.
	Registry membership.Config
	Gossip   membership.GossipConfig
	// KVMemory is the size of the cache in bytes; default 1 GB.
	KVMemory int64
	// KVFormat is what keys and values are stored as: F32, BF16 or I8; default
	// F32, which rounds nothing.
	KVFormat kernels.Format
	// AttentionQuant is what the coordinator's own weights are quantised to, but
	// for embedding and gates; ExpertsQuant what workers hold experts as: it must
	// be theirs. Default none.
	AttentionQuant, ExpertsQuant shard.Quant
	// NoPrefixCaching turns off that prompts which begin alike share their keys
	// and values.
	NoPrefixCaching bool
	// MaxRows bounds the positions computed in a step, MaxRunning the
	// sequences in the batch, MaxWaiting those that wait; defaults 256, 64,
	// 1024.
	MaxRows, MaxRunning, MaxWaiting int
	// MicroBatches is in how many parts steps run, 1 or 2; default: whatever
	// turns out faster.
	MicroBatches int
	// DraftTokens is how many tokens are guessed after each request's own by
	// looking up what followed the same words before; default none.
	DraftTokens int
	// Replicas is how many copies of every expert the workers hold together, as far
	// as they have room and there are so many of them; default 2.
	Replicas int
	// RebalanceEvery is how often the elected coordinator looks whether moving
	// experts would make the slowest workers faster; 0: never.
	RebalanceEvery time.Duration
	// NoLastResort turns off that experts without a worker are computed here.
	NoLastResort bool
	// HedgeAfter is dispatch's; 0: no hedging.
	HedgeAfter float64
	// MinWorkers is how many workers the first placement waits for; default 1.
	MinWorkers int
	// Wire is what activations are rounded to on their way; default f32, which
	// rounds nothing.
	Wire wire.Format
	// Transport is dispatch's.
	Transport dispatch.Transport
	// CallTimeout and Patience are dispatch's; defaults 20 s and 15 s.
	CallTimeout, Patience time.Duration
	// DrainTimeout bounds how long running requests may go on after the
	// context of Run has ended; default 30 s.
	DrainTimeout time.Duration
	// Threads is the number of cores to compute on; default all.
	Threads int
	// Pin says whether these are bound to processors; default host.PinAuto.
	Pin host.Pin
	// Access says who may use the API; default everybody. RequestTimeout bounds
	// how long a completion may take, MaxBody a request's body in bytes; defaults
	// none and 32 MiB.
	Access         openai.Access
	RequestTimeout time.Duration
	MaxBody        int64
	// Version is what the API tells of this program.
	Version string
	// Tracing says which requests are traced, and where to; default none.
	// Instance and Log are filled in.
	Tracing obs.Config
	// Progress, if set, hears of loading.
	Progress Progress
	Log      *slog.Logger
}

// Progress hears of loading: Begin with the bytes to come, Add as they arrive.
type Progress interface {
	Begin(total int64)
	Add(bytes int64)
}

// DefaultReplicas lets a worker die without a request having to wait.
const DefaultReplicas = 2

func (c *Config) setDefaults() error {
	if c.ID == "" || c.ModelDir == "" || c.ModelName == "" {
		return errors.New("coordinator: id, model directory and model name are required")
	}
	if err := c.Access.Check(); err != nil {
		return fmt.Errorf("coordinator: %w", err)
	}
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8080"
	}
	if c.KVMemory == 0 {
		c.KVMemory = 1 << 30
	}
	def(&c.MaxRows, 256)
	def(&c.MaxRunning, 64)
	def(&c.MaxWaiting, 1024)
	def(&c.MinWorkers, 1)
	def(&c.Replicas, DefaultReplicas)
	def(&c.Threads, runtime.GOMAXPROCS(0))
	if c.Wire == 0 {
		c.Wire = wire.F32
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Coordinator is a coordinator process.
type Coordinator struct {
	cfg         Config
	log         *slog.Logger
	fingerprint string
	spec        *model.Spec
	checkpoint  *safetensors.Checkpoint
	tokenizer   *tokenizer.Tokenizer
	template    *chat.Template
	dialect     *chat.Dialect
	listener    net.Listener
	metrics     *prometheus.Registry
	tracing     *obs.Tracing

	cluster    *cluster
	control    *controller
	dispatcher *dispatch.Dispatcher
	pool       *kernels.Pool
	cache      *kvcache.Cache
	engine     *engine.Engine
	handler    atomic.Pointer[http.Handler]
	started    time.Time
}

// New opens the checkpoint, the tokenizer and the listening socket, so that
// bad input is reported before anything runs.
func New(ctx context.Context, cfg Config) (_ *Coordinator, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	c := &Coordinator{
		cfg: cfg, log: cfg.Log.With("coordinator", cfg.ID),
		metrics: prometheus.NewRegistry(), started: time.Now(),
	}
	defer func() {
		if err != nil {
			c.release()
		}
	}()
	if c.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("listen for requests: %w", err)
	}
	cfg.Tracing.Instance, cfg.Tracing.Log = cfg.ID, c.log
	if c.tracing, err = obs.New(context.Background(), cfg.Tracing); err != nil {
		return nil, err
	}
	if err = c.open(ctx, cfg.ModelDir); err != nil {
		return nil, err
	}
	early := http.Handler(http.HandlerFunc(c.loading))
	c.handler.Store(&early)
	return c, nil
}

// open reads everything of the checkpoint but the weights.
func (c *Coordinator) open(ctx context.Context, dir string) (err error) {
	c.spec, err = model.ReadWith(dir, model.Options{RopeScaling: c.cfg.RopeScaling})
	if err != nil {
		return err
	}
	c.checkpoint, err = safetensors.OpenFrom(ctx, dir, c.cfg.Weights)
	if err != nil {
		return err
	}
	if err = c.spec.Check(c.checkpoint); err != nil {
		return err
	}
	c.cfg.ExpertsQuant, err = c.cfg.ExpertsQuant.Beside(c.cfg.AttentionQuant, c.spec, c.checkpoint)
	if err != nil {
		return err
	}
	fingerprint, err := c.spec.Fingerprint(ctx, dir, c.checkpoint)
	if err != nil {
		return err
	}
	c.fingerprint = c.cfg.ExpertsQuant.Model(fingerprint)
	if c.tokenizer, err = tokenizer.LoadDir(dir); err != nil {
		return err
	}
	if n := c.tokenizer.Size(); n > c.spec.Vocab {
		return fmt.Errorf("the tokenizer in %s has %d ids, but config.json says vocab_size %d: "+
			"the files are not of one model", dir, n, c.spec.Vocab)
	}
	return c.openTemplate(dir)
}

func (c *Coordinator) openTemplate(dir string) (err error) {
	c.template, err = chat.Load(dir)
	switch {
	case errors.Is(err, chat.ErrNoTemplate):
		c.log.Warn("the checkpoint has no chat template: /v1/chat/completions will refuse")
		return nil
	case err != nil:
		return err
	}
	c.dialect = c.template.Dialect()
	if name := c.cfg.ToolFormat; name != "" && name != "auto" {
		c.dialect, err = chat.DialectNamed(name)
	}
	return err
}

// release gives back what New and start took, in reverse.
func (c *Coordinator) release() {
	if c.dispatcher != nil {
		c.dispatcher.Close()
	}
	if c.pool != nil {
		c.pool.Close()
	}
	if c.cache != nil {
		_ = c.cache.Close() // anonymous memory
	}
	if c.checkpoint != nil {
		_ = c.checkpoint.Close() // read-only mappings
	}
	if c.listener != nil {
		_ = c.listener.Close() // already closed by the server when it ran
	}
	if err := c.tracing.Close(); err != nil {
		c.log.Warn("traces were cut off", "err", err)
	}
}

// Run serves until ctx ends, finishes what is running and leaves. It may be
// called once.
func (c *Coordinator) Run(ctx context.Context) (err error) {
	defer c.release()
	server := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*c.handler.Load()).ServeHTTP(w, r)
	}), patience, c.log)
	serving := make(chan error, 1)
	go func() { serving <- server.Serve(border.Listener(c.listener, maxConnections)) }()
	defer func() {
		_ = server.Close() // what had to finish has finished
		if e := <-serving; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, fmt.Errorf("serve requests on %v: %w", c.listener.Addr(), e))
		}
	}()
	if err := c.join(ctx); err != nil {
		return err
	}
	defer c.leave()
	if err := c.load(ctx); err != nil {
		return err
	}
	defer c.engine.Close()
	c.control = c.controller()

	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { c.cluster.follow(background, c.dispatcher, c.engine) })
	wg.Go(func() { c.cluster.scout(background) })
	wg.Go(func() { c.cluster.seat.Gossip.Acquaint(background, c.cluster.peers) })
	wg.Go(func() { c.control.run(background) })
	wg.Go(func() { c.control.survey(background) })
	wg.Go(func() { c.reporter().run(background) })
	if err := c.openAPI(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-c.cluster.seat.Registration.Lost():
		return fmt.Errorf("coordinator %s: another process registered under the same id; "+
			"give each a --id of its own", c.cfg.ID)
	case err := <-serving:
		serving <- err // reported below
		return nil
	}
	c.drain(server)
	return nil
}

// lastBytes is how long the answers of requests that were cut off may take to
// leave.
const lastBytes = 2 * time.Second

// drain lets running requests finish, and tells those that do not in time.
func (c *Coordinator) drain(server *http.Server) {
	c.log.Info("draining", "timeout", c.cfg.DrainTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.DrainTimeout)
	defer cancel()
	if err := c.engine.Drain(ctx); err != nil {
		c.log.Warn("requests were cut off", "err", err)
		c.engine.Close()
		ctx, cancel = context.WithTimeout(context.Background(), lastBytes)
		defer cancel()
	}
	// The last bytes of the last answers are on their way.
	if err := server.Shutdown(ctx); err != nil {
		c.log.Warn("connections were cut off", "err", err)
	}
}

// join takes this coordinator's seat in the cluster, if that serves this
// checkpoint.
func (c *Coordinator) join(ctx context.Context) error {
	addr, err := membership.AdvertisedAddr(c.listener.Addr(), c.cfg.Advertise)
	if err != nil {
		return fmt.Errorf("coordinator %s: %w", c.cfg.ID, err)
	}
	incarnation := membership.NewIncarnation()
	g := c.cfg.Gossip
	g.ID, g.Incarnation, g.Addr = c.cfg.ID, incarnation, addr
	g.Role, g.Log = membership.RoleCoordinator, c.log
	seat, err := membership.TakeSeat(ctx, c.cfg.Registry, g,
		func(client *membership.Client, gossip string) (
			*membership.Registration[membership.Coordinator], error,
		) {
			own := membership.Coordinator{
				ID: c.cfg.ID, Incarnation: incarnation, Model: c.fingerprint,
				Quant: c.cfg.AttentionQuant.String(),
			}
			if err := claim(ctx, client, own, c.log); err != nil {
				return nil, err
			}
			own.Addr, own.Gossip = addr, gossip
			return client.RegisterCoordinator(ctx, own)
		})
	if err != nil {
		return err
	}
	c.cluster = &cluster{
		model: c.fingerprint, layers: len(c.spec.Layers), log: c.log,
		seat: seat, settled: make(chan uint64, 1), damper: newDamper(c.fingerprint),
		scouted: make(chan map[string]membership.Worker),
	}
	return nil
}

func (c *Coordinator) leave() {
	if err := c.cluster.seat.Leave(); err != nil {
		c.log.Debug("left with errors", "err", err)
	}
}

// load reads the weights and builds the engine on them.
func (c *Coordinator) load(ctx context.Context) (err error) {
	place, err := host.Place(c.cfg.Pin, c.cfg.Threads)
	if err != nil {
		return err
	}
	c.log.Debug("threads placed",
		"threads", c.cfg.Threads, "bound", place.Bound(), "nodes", place.Nodes())
	nodes := shard.NewNodes(shard.NodesConfig{Memory: place.Memory(), Log: c.log})
	c.pool = kernels.NewPoolWith(kernels.PoolConfig{
		Threads: c.cfg.Threads, Bind: place.Bind(), Nodes: place.Nodes(),
	})
	c.dispatcher, err = dispatch.New(dispatch.Config{
		Model: c.fingerprint, Experts: expertCounts(c.spec), Hidden: c.spec.Hidden, Format: c.cfg.Wire,
		ExpertBytes: c.expertBytes(), CallTimeout: c.cfg.CallTimeout,
		HedgeAfter: c.cfg.HedgeAfter, Patience: c.cfg.Patience, MaxMessage: c.maxMessage(),
		LastResort: c.lastResort(), Pool: c.pool, OnSettled: c.cluster.announce, Log: c.log,
		Transport: c.cfg.Transport,
	})
	if err != nil {
		return err
	}
	shape := forward.CacheShape(c.spec)
	shape.Format, shape.Bytes = c.cfg.KVFormat, c.cfg.KVMemory
	shape.Step, shape.Prefix = c.cfg.MaxRows, !c.cfg.NoPrefixCaching
	c.cache, err = kvcache.New(shape)
	if err != nil {
		return err
	}
	progress := func(int64) {}
	if c.cfg.Progress != nil {
		c.cfg.Progress.Begin(c.attentionBytes())
		progress = c.cfg.Progress.Add
	}
	maxLogits := c.maxLogits()
	m, err := forward.New(ctx, forward.Config{
		Spec: c.spec, Checkpoint: c.checkpoint, Cache: c.cache, Pool: c.pool,
		Quant: c.cfg.AttentionQuant, Nodes: nodes,
		Experts: experts{c.dispatcher}, MaxRows: c.cfg.MaxRows, MaxLogits: maxLogits, Progress: progress,
	})
	if err != nil {
		return err
	}
	onStep, err := c.stepMetrics()
	if err != nil {
		return err
	}
	c.engine, err = engine.New(engine.Config{
		Model: m, Cache: c.cache, Session: c.dispatcher, Vocab: c.spec.Vocab, Tokens: c.tokenizer.Size(),
		Context: c.spec.MaxPositions, MaxRows: c.cfg.MaxRows, MaxLogits: maxLogits,
		MaxRunning: c.cfg.MaxRunning, MaxWaiting: c.cfg.MaxWaiting, OnStep: onStep,
		MicroBatches: c.cfg.MicroBatches, Draft: c.cfg.DraftTokens, Pool: c.pool,
		Expanded: func(prompt int) int { return forward.Expanded(c.spec, prompt) },
	})
	nodes.Announce()
	c.log.Debug("weights loaded", "huge_page_bytes", host.HugeBytes())
	return err
}

// lastResort is what computes experts here, nil if there is none: a checkpoint of
// which only a part was fetched has not got them.
func (c *Coordinator) lastResort() dispatch.LastResort {
	if c.cfg.NoLastResort || !c.checkpoint.Whole() {
		return nil
	}
	return lastresort.New(c.spec, c.checkpoint, c.cfg.ExpertsQuant, c.pool)
}

// maxLogits is how many rows of a step may ask for logits: one for every
// request and guess of the batch, within the step.
func (c *Coordinator) maxLogits() int {
	return min(max(c.cfg.MaxRunning*(1+c.cfg.DraftTokens), 32), c.cfg.MaxRows)
}

// openAPI replaces the loading page by the API.
func (c *Coordinator) openAPI() error {
	if err := c.registerMetrics(); err != nil {
		return err
	}
	api, err := openai.New(openai.Config{
		ModelName: c.cfg.ModelName, Created: c.started, Spec: c.spec, Tokenizer: c.tokenizer,
		Template: c.template, Dialect: c.dialect, Engine: serving{c}, Registry: c.metrics,
		Tracing: c.tracing, Log: c.log,
		Access: c.cfg.Access, RequestTimeout: c.cfg.RequestTimeout, MaxBody: c.cfg.MaxBody,
		Pages: map[string]http.Handler{
			StatusPath: http.HandlerFunc(c.status), ClusterPath: http.HandlerFunc(c.sight),
		},
		Actions: map[string]http.Handler{DrainPath: c.orders()},
		Version: c.cfg.Version, Quantization: c.quantization(),
	})
	if err != nil {
		return err
	}
	handler := api.Handler()
	c.handler.Store(&handler)
	c.log.Info("serving", "addr", c.listener.Addr().String(), "model", c.cfg.ModelName,
		"quantization", cmp.Or(c.quantization(), "none"), "kernels", kernels.Features())
	return nil
}

// loading answers while the weights are read.
func (c *Coordinator) loading(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		_, _ = w.Write([]byte("ok\n")) // the client may have gone
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"error":{"message":"The model is loading.","type":"server_error","param":null,"code":"loading"}}` + "\n"))
}

func (c *Coordinator) controller() *controller {
	return &controller{
		client: c.cluster.seat.Client, id: c.cfg.ID, model: c.fingerprint, layers: c.layers(),
		minWorkers: c.cfg.MinWorkers, replicas: c.cfg.Replicas, damper: c.cluster.damper, log: c.log,
		every: c.cfg.RebalanceEvery, reports: c.cluster.seat.Client.Reports,
		present: c.cluster.snapshot,
	}
}

func (c *Coordinator) orders() *orders {
	return &orders{client: c.cluster.seat.Client, model: c.fingerprint, layers: c.layers()}
}

// layers are the model's, as placement sees them.
func (c *Coordinator) layers() []shard.Layer {
	layers := make([]shard.Layer, len(c.spec.Layers))
	bytes := c.expertBytes()
	for l, n := range expertCounts(c.spec) {
		layers[l] = shard.Layer{Experts: n, ExpertBytes: bytes[l], Groups: c.spec.Gate.Groups}
	}
	return layers
}

func (c *Coordinator) reporter() *reporter {
	return &reporter{
		model: c.fingerprint, load: c.dispatcher.Load, log: c.log,
		put: func(ctx context.Context, data []byte) error {
			return c.cluster.seat.Client.PutReport(ctx, c.cfg.ID, data)
		},
	}
}

// expertBytes is the size of one expert of each layer, 0 for dense ones.
func (c *Coordinator) expertBytes() []int64 {
	bytes := make([]int64, len(c.spec.Layers))
	for l, n := range expertCounts(c.spec) {
		if n > 0 {
			bytes[l] = c.cfg.ExpertsQuant.ExpertBytes(c.spec, c.checkpoint, l)
		}
	}
	return bytes
}

// maxMessage is the largest answer that a step can bring: every row's chosen
// experts on one worker.
func (c *Coordinator) maxMessage() int {
	rows := c.cfg.MaxRows * max(c.spec.TopK, 1)
	return rows*c.spec.Hidden*c.cfg.Wire.Size() + 1<<20
}

// attentionBytes is the size of the matrices that this process reads.
func (c *Coordinator) attentionBytes() int64 {
	var n int64
	for _, t := range c.spec.AttentionTensors() {
		if stored, ok := c.checkpoint.Tensor(t.Name); ok && len(stored.Shape) == 2 {
			n += int64(len(stored.Data))
		}
	}
	return n
}

func expertCounts(spec *model.Spec) []int {
	counts := make([]int, len(spec.Layers))
	for l, layer := range spec.Layers {
		if layer.MoE != nil {
			counts[l] = len(layer.MoE.Experts)
		}
	}
	return counts
}
