package main

import (
	"cmp"
	"context"
	"time"

	"github.com/conclave-serve/conclave/internal/host"
	"github.com/conclave-serve/conclave/worker"
)

// workerCommand runs a worker.
type workerCommand struct {
	clusterFlags
	hubFlags
	expertsFlags
	ID            string        `help:"Name of this worker, kept across restarts; default: the host's name."`
	Model         modelPath     `help:"Checkpoint: a directory, or the URL of one, of which only this worker's part is read." required:"" placeholder:"DIR|URL"`
	Listen        string        `help:"Address of the expert service." default:":7070"`
	MetricsListen string        `help:"Address of /metrics, /healthz and /readyz; default: none." placeholder:"ADDR"`
	Zone          string        `help:"Failure domain, such as a rack."`
	Memory        byteSize      `help:"Memory for experts, such as 48GiB; 0: no limit." default:"0"`
	Threads       int           `help:"Cores to compute on; 0: all." default:"0"`
	Pin           string        `help:"Bind threads to processors: on, off, node (to the processors of a memory node, where there are several), or auto: on if this process was given processors of its own and fills them, else node." enum:"auto,on,node,off" default:"auto"`
	MaxMessage    byteSize      `help:"Largest request or reply." default:"256MiB"`
	FetchFrom     string        `help:"Whom to ask first for experts of a model at a URL: peers that hold them, or only the origin." enum:"peers,origin" default:"peers"`
	DrainTimeout  time.Duration `help:"How long to wait for others to take over when told to stop." default:"30s"`
}

// Validate implements kong's check of the command line.
func (f *workerCommand) Validate() error {
	return cmp.Or(f.validate(), notNegative("threads", f.Threads),
		notNegative("drain-timeout", f.DrainTimeout))
}

// Run implements kong's command.
func (f *workerCommand) Run(ctx context.Context, c *cli) error {
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
	m, err := f.openModel(ctx, f.Model, workerFiles(), log)
	if err != nil {
		return err
	}
	defer m.close()
	w, err := worker.New(ctx, worker.Config{
		ID: id, ModelDir: m.dir, Weights: m.weights, OriginOnly: f.FetchFrom == "origin",
		Listen: f.Listen, Advertise: f.Advertise, MetricsListen: f.MetricsListen,
		Registry: f.registry(log), Gossip: gossip, Zone: f.Zone,
		Quant: f.experts(), Capacity: int64(f.Memory),
		Threads: f.Threads, Pin: host.Pin(f.Pin), MaxMessage: int(f.MaxMessage),
		DrainTimeout: f.DrainTimeout, Progress: newProgress("experts", log), Log: log,
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}
