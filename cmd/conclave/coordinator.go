package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/conclave-serve/conclave/coordinator"
	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/internal/chat"
	"github.com/conclave-serve/conclave/internal/host"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
)

// maxDraftTokens is more guesses than ever come true together; each costs a row.
const maxDraftTokens = 16

// maxStepRows is far more than any machine gains from; memory for a step is taken
// at start.
const maxStepRows = 1 << 16

// serveFlags are the coordinator's settings that conclave up shares.
type serveFlags struct {
	ModelName     string        `help:"Name under which clients know the model; default: the directory's name."`
	RopeScaling   string        `help:"Rotary scaling in place of the checkpoint's: a JSON object as in config.json, such as {\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32768}." placeholder:"JSON"`
	ToolFormat    string        `help:"How the model writes reasoning and tool calls: auto (what its chat template suggests), ${tool_formats}." default:"auto" placeholder:"NAME"`
	KVMemory      byteSize      `help:"Memory for keys and values." default:"1GiB"`
	KVDtype       kvFormat      `help:"What keys and values are stored as: f32 (exact), bf16 (half the memory) or int8 (a quarter)." default:"f32" name:"kv-dtype"`
	PrefixCaching bool          `help:"Share the keys and values of prompts that begin alike." default:"true" negatable:""`
	MaxRows       int           `help:"Positions computed in one step." default:"256"`
	MaxRunning    int           `help:"Requests in the batch." default:"64"`
	MaxWaiting    int           `help:"Requests that may wait for a place in it." default:"1024"`
	MicroBatches  int           `help:"Parts of a step that overlap, 1 or 2, so that workers compute while the coordinator does; 0: what is faster." default:"0"`
	DraftTokens   int           `help:"Tokens to guess by looking up what followed the same words before; answers stay the same. 0: none." default:"0"`
	Wire          wireFormat    `help:"Activations between processes: f32 (exact) or bf16 (half the traffic)." default:"f32"`
	Transport     laneTransport `help:"What carries expert calls: auto (frames written and read where calls are made) or grpc (stock gRPC); on the wire they are the same." default:"auto"`
	Replicas      int           `help:"Copies of every expert, on different workers, as far as their memory and number allow." default:"2"`
	Rebalance     time.Duration `help:"How often to look whether moving experts between workers, or more copies of hot ones, would make the slowest workers faster. 0: never." default:"10s" name:"rebalance-every"`
	HedgeAfter    float64       `help:"Ask another replica too when a call takes longer than so many times what 99 of 100 take; at most one call in twenty. 0: never." default:"2"`
	LastResort    bool          `help:"Compute experts in the coordinator while no worker answers for them, if the whole checkpoint is a local directory." default:"true" negatable:""`
	CallTimeout   time.Duration `help:"How long a worker may take for one layer before its lane is cut." default:"20s"`
	Patience      time.Duration `help:"How long requests wait for experts that no worker serves." default:"15s"`
	DrainTimeout  time.Duration `help:"How long running requests may go on when the process is told to stop." default:"30s"`
	quantFlags
	apiFlags
	traceFlags
}

func (f *serveFlags) validate() error {
	if f.ToolFormat != "auto" {
		if _, err := chat.DialectNamed(f.ToolFormat); err != nil {
			return fmt.Errorf("--tool-format: %w", err)
		}
	}
	return cmp.Or(f.apiFlags.validate(), f.traceFlags.validate(),
		atMost("micro-batches", f.MicroBatches, forward.MicroBatches),
		atMost("draft-tokens", f.DraftTokens, maxDraftTokens),
		atMost("max-rows", f.MaxRows, maxStepRows), notNegative("max-running", f.MaxRunning),
		atLeastOne("replicas", f.Replicas), notNegative("rebalance-every", f.Rebalance),
		notNegative("hedge-after", f.HedgeAfter),
		notNegative("max-waiting", f.MaxWaiting), notNegative("call-timeout", f.CallTimeout),
		notNegative("patience", f.Patience), notNegative("drain-timeout", f.DrainTimeout))
}

// coordinatorCommand runs a coordinator.
type coordinatorCommand struct {
	clusterFlags
	serveFlags
	hubFlags
	ID         string    `help:"Name of this coordinator; default: the host's name."`
	Model      modelPath `help:"Checkpoint: a directory, or the URL of one, of which only the coordinator's part is read." required:"" placeholder:"DIR|URL"`
	Listen     string    `help:"Address of the HTTP API." default:":8080"`
	MinWorkers int       `help:"Workers that the first placement waits for." default:"1"`
	Threads    int       `help:"Cores to compute on; 0: all." default:"0"`
	Pin        string    `help:"Bind threads to processors: on, off, node (to the processors of a memory node, where there are several), or auto: on if this process was given processors of its own and fills them, else node." enum:"auto,on,node,off" default:"auto"`
}

// Validate implements kong's check of the command line.
func (f *coordinatorCommand) Validate() error {
	return cmp.Or(f.clusterFlags.validate(), f.serveFlags.validate(),
		notNegative("min-workers", f.MinWorkers), notNegative("threads", f.Threads))
}

// Run implements kong's command.
func (f *coordinatorCommand) Run(ctx context.Context, c *cli) error {
	f.watchParent()
	log := c.Log.logger()
	id, err := idOrHost(f.ID)
	if err != nil {
		return err
	}
	gossip, err := f.gossip(f.Listen)
	if err != nil {
		return err
	}
	name := cmp.Or(f.ModelName, f.Model.name())
	m, err := f.openModel(ctx, f.Model, smallFiles(), log)
	if err != nil {
		return err
	}
	defer m.close()
	k, err := coordinator.New(ctx, coordinator.Config{
		ID: id, ModelDir: m.dir, Weights: m.weights, ModelName: name,
		Listen: f.Listen, Advertise: f.Advertise,
		RopeScaling: f.RopeScaling, ToolFormat: f.ToolFormat,
		Registry: f.registry(log), Gossip: gossip, KVMemory: int64(f.KVMemory),
		AttentionQuant: f.attention(), ExpertsQuant: f.experts(),
		KVFormat: kernels.Format(f.KVDtype), NoPrefixCaching: !f.PrefixCaching, MaxRows: f.MaxRows,
		MaxRunning: f.MaxRunning, MaxWaiting: f.MaxWaiting, MicroBatches: f.MicroBatches,
		DraftTokens: f.DraftTokens, Replicas: f.Replicas, HedgeAfter: f.HedgeAfter,
		NoLastResort: !f.LastResort, RebalanceEvery: f.Rebalance,
		MinWorkers: f.MinWorkers, Transport: dispatch.Transport(f.Transport),
		Threads: f.Threads, Pin: host.Pin(f.Pin),
		Wire: wire.Format(f.Wire), CallTimeout: f.CallTimeout,
		Patience: f.Patience, DrainTimeout: f.DrainTimeout, Tracing: f.tracing(),
		Access: f.access(), RequestTimeout: f.RequestTimeout, MaxBody: int64(f.MaxBody),
		Version:  version(),
		Progress: newProgress("attention", log), Log: log,
	})
	if err != nil {
		return err
	}
	return k.Run(ctx)
}
