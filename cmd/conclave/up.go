package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/internal/chat"
	"github.com/conclave-serve/conclave/internal/demo"
	"github.com/conclave-serve/conclave/internal/local"
	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// upCommand runs everything on this machine.
type upCommand struct {
	serveFlags
	hubFlags
	Model   modelPath `help:"Checkpoint: a directory, or the URL of one; default: the built-in demo model." placeholder:"DIR|URL"`
	Workers int       `help:"Number of workers." default:"2"`
	Listen  string    `help:"Address of the HTTP API." default:"127.0.0.1:8080"`
	Pin     string    `help:"Keep threads, and weights that are held in memory, on memory nodes where there are several: node or off." enum:"node,off" default:"node"`
	Verbose bool      `help:"Show what the processes log, not only warnings." short:"v"`
}

// Validate implements kong's check of the command line.
func (f *upCommand) Validate() error {
	if f.Workers < 1 || f.Workers > 64 {
		return fmt.Errorf("--workers is %d: want 1 to 64", f.Workers)
	}
	return f.validate()
}

// Run implements kong's command.
func (f *upCommand) Run(ctx context.Context, c *cli) error {
	cfg, err := f.config(ctx, c)
	if err != nil {
		return err
	}
	ctx, cancel := withGoRun(ctx, cfg.Executable)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	return local.Run(ctx, cfg, secondInterrupt(ctx, ended))
}

func (f *upCommand) config(ctx context.Context, c *cli) (local.Config, error) {
	var cfg local.Config
	executable, err := os.Executable()
	if err != nil {
		return cfg, fmt.Errorf("find this program: %w", err)
	}
	cache := cacheDir()
	where, name := f.Model, cmp.Or(f.ModelName, demo.Name)
	if where == "" {
		dir, err := demo.Unpack(filepath.Join(cache, "models"))
		if err != nil {
			return cfg, err
		}
		where = modelPath(dir)
	} else {
		name = cmp.Or(f.ModelName, where.name())
	}
	copies := min(f.Replicas, f.Workers)
	level := c.Log.Level
	if !f.Verbose && level == 0 {
		level = 4 // slog's warn
	}
	log := c.Log
	log.Level = level
	if log.Format == "auto" {
		log.Format = "text" // one form for all, also when it goes to a file
	}
	experts, bytes, err := f.expertSize(ctx, where, log.logger())
	if err != nil {
		return cfg, err
	}
	logging := []string{"--log-level", level.String(), "--log-format", log.Format}
	cfg = local.Config{
		Executable: executable, Env: append(childEnv(), f.hubEnv()...), FrontEnv: f.env(),
		Dir: filepath.Join(cache, local.DirName(f.Listen)), Listen: f.Listen,
		Workers: f.Workers, Experts: copies * experts, ExpertBytes: int64(copies) * bytes,
		Coordinator: append(f.coordinatorArgs(string(where), name), logging...),
		Worker:      append(f.workerArgs(string(where)), logging...),
		StopTimeout: f.DrainTimeout + stopMargin,
		Output:      os.Stderr, Log: log.logger(), Progress: newProgress(name, log.logger()),
		Ready: func(string) { f.greet(name) },
	}
	return cfg, nil
}

func (f *upCommand) coordinatorArgs(dir, name string) []string {
	return append([]string{
		"--model", dir, "--model-name", name, "--kv-memory", strconv.FormatInt(int64(f.KVMemory), 10),
		"--max-rows", strconv.Itoa(f.MaxRows), "--max-running", strconv.Itoa(f.MaxRunning),
		"--max-waiting", strconv.Itoa(f.MaxWaiting), "--wire", wire.Format(f.Wire).String(),
		"--replicas", strconv.Itoa(f.Replicas), "--rebalance-every", f.Rebalance.String(),
		"--transport", dispatch.Transport(f.Transport).String(),
		"--hedge-after", strconv.FormatFloat(f.HedgeAfter, 'g', -1, 64),
		"--call-timeout", f.CallTimeout.String(), "--patience", f.Patience.String(),
		"--drain-timeout", f.DrainTimeout.String(), "--rope-scaling", f.RopeScaling,
		"--tool-format", f.ToolFormat, "--kv-dtype", kvcache.FormatName(kernels.Format(f.KVDtype)),
		"--last-resort=" + strconv.FormatBool(f.LastResort),
		"--prefix-caching=" + strconv.FormatBool(f.PrefixCaching),
		"--pin", f.Pin, // as workers
		"--micro-batches", strconv.Itoa(f.MicroBatches), "--draft-tokens", strconv.Itoa(f.DraftTokens),
	}, slices.Concat(f.quantArgs(), f.args(), f.traceArgs(), f.hubArgs())...)
}

// stopMargin is what a child needs to stop beyond its drain timeout.
const stopMargin = 5 * time.Second

// workerArgs divides the cores among the workers: they compute at the same
// time, the coordinator before and after them. They share the processors, so that
// none binds threads to one: two processes would choose the same ones. Memory nodes
// can be shared.
func (f *upCommand) workerArgs(dir string) []string {
	threads := max(1, runtime.NumCPU()/f.Workers)
	return append([]string{
		"--model", dir, "--listen", "127.0.0.1:0", "--threads", strconv.Itoa(threads),
		"--drain-timeout", f.DrainTimeout.String(), "--pin", f.Pin,
	}, slices.Concat(f.expertsArgs(), f.hubArgs())...)
}

// greet says how to use what is running.
func (f *upCommand) greet(name string) {
	host, port, err := net.SplitHostPort(f.Listen)
	if err != nil || host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	url := "http://" + net.JoinHostPort(host, port)
	key := ""
	if access := f.access(); len(access.Keys) > 0 || access.KeyFile != "" {
		key = "    -H \"Authorization: Bearer $CONCLAVE_API_KEY\" \\\n" // chat and status read it, too
	}
	fmt.Printf(`
Conclave serves %s at %s with %d workers.

  curl %s/v1/chat/completions -H 'Content-Type: application/json' \
%s    -d '{"model":"%s","messages":[{"role":"user","content":"What is 17 + 25?"}]}'

  conclave chat --url %s        talk to it
  conclave status --url %s      see who holds which expert

Ctrl-C stops it.
`, name, url, f.Workers, url, key, name, url, url)
}

// expertSize counts a checkpoint's routed experts and their bytes; it also
// finds most of what may be wrong with a checkpoint before anything starts.
func (f *upCommand) expertSize(
	ctx context.Context, where modelPath, log *slog.Logger,
) (experts int, bytes int64, err error) {
	m, err := f.openModel(ctx, where, smallFiles(), log)
	if err != nil {
		return 0, 0, err
	}
	defer m.close()
	dir := m.dir
	spec, err := model.ReadWith(dir, model.Options{RopeScaling: f.RopeScaling})
	if err != nil {
		return 0, 0, err
	}
	checkpoint, err := safetensors.OpenFrom(ctx, dir, m.weights)
	if err != nil {
		return 0, 0, err
	}
	defer checkpoint.Close()
	if err := spec.Check(checkpoint); err != nil {
		return 0, 0, err
	}
	if _, err := checkTokenizer(dir, spec.Vocab); err != nil {
		return 0, 0, err
	}
	if _, err := chat.Load(dir); err != nil && !errors.Is(err, chat.ErrNoTemplate) {
		return 0, 0, err
	}
	quant := f.experts()
	for l, layer := range spec.Layers {
		if layer.MoE != nil {
			experts += len(layer.MoE.Experts)
			bytes += int64(len(layer.MoE.Experts)) * quant.ExpertBytes(spec, checkpoint, l)
		}
	}
	return experts, bytes, nil
}

// cacheDir is where unpacked models and the local registry live.
func cacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "conclave")
}

// childEnv is this process's environment without Conclave's own settings:
// children get theirs as flags, but for API keys.
func childEnv() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CONCLAVE_") {
			env = append(env, v)
		}
	}
	return env
}

// secondInterrupt is closed by an interrupt after the one that ended ctx.
// ended is closed when the command has ended.
func secondInterrupt(ctx context.Context, ended <-chan struct{}) <-chan struct{} {
	again := make(chan struct{})
	go func() {
		<-ctx.Done()
		select {
		case <-ended:
			return // by itself, not by a signal
		default:
		}
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM) // before anybody is told to press
		fmt.Fprintln(os.Stderr, "stopping; press Ctrl-C again to stop at once")
		<-signals
		close(again)
	}()
	return again
}
