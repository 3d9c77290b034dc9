// Conclave serves Mixture-of-Experts language models on many ordinary
// machines: a coordinator owns attention and the cache, workers own the
// experts. Run `conclave up` for everything on this machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/conclave-serve/conclave/internal/chat"
)

// cli is the command line. Every flag has an environment twin, CONCLAVE_ and
// its name; flags come before the environment, that before the file.
type cli struct {
	Config settingsFile `help:"YAML file with settings by flag name, at the top level or under a command's name; for synth, bench kernels and bench model, the config.json of a model." placeholder:"FILE"`
	Log    logFlags     `embed:"" prefix:"log-"`

	Up          upCommand          `cmd:"" help:"Run a whole cluster on this machine."`
	Coordinator coordinatorCommand `cmd:"" help:"Run a coordinator: the API, attention, the cache."`
	Worker      workerCommand      `cmd:"" help:"Run a worker: the experts."`
	Chat        chatCommand        `cmd:"" help:"Talk to a running coordinator."`
	Status      statusCommand      `cmd:"" help:"Show coordinators, workers and who holds which expert."`
	Drain       drainCommand       `cmd:"" help:"Let a worker hand its experts over and leave."`
	Inspect     inspectCommand     `cmd:"" help:"Show what checkpoints are and need: sizes, attention, experts, cache."`
	Synth       synthCommand       `cmd:"" help:"Write a random checkpoint from a config.json."`
	Bench       benchCommand       `cmd:"" help:"Measure."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
}

// Exit codes besides 0.
const (
	exitFailed = 1
	exitUsage  = 2
)

// stopSignals are what ends a command in order: also a terminal that closes,
// unless nohup has asked to live on.
func stopSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

func main() { os.Exit(run(os.Args[1:])) }

// newParser returns the parser of the command line, the environment and the
// configuration file into c.
func newParser(c *cli) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("conclave"),
		kong.Description("Exact Mixture-of-Experts serving over many ordinary machines."),
		kong.DefaultEnvars("CONCLAVE"),
		kong.Vars{"tool_formats": strings.Join(chat.DialectNames(), ", ")},
		kong.Configuration(readConfig),
	)
}

func run(args []string) int {
	var c cli
	parser, err := newParser(&c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conclave:", err)
		return exitFailed
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "conclave: %v\nRun conclave --help for usage.\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), stopSignals()...)
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(&c); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "conclave:", err)
		return exitFailed
	}
	return 0
}
