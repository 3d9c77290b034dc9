package main

import (
	"context"
	"errors"
	"os"

	"github.com/conclave-serve/conclave/internal/bench"
	"github.com/conclave-serve/conclave/internal/wire"
)

// benchModelCommand measures steps of a model. Its --config is the one of cli.
type benchModelCommand struct {
	quantFlags
	Model   string     `help:"Folder of a checkpoint; default: random weights of the shapes of --config." type:"existingdir" placeholder:"DIR"`
	Layers  int        `help:"Of --config keep the first layers only; 0: all." default:"0"`
	Experts int        `help:"Of --config keep so many routed experts in each layer; 0: all." default:"0"`
	Workers int        `help:"Workers that share the experts." default:"1"`
	Threads int        `help:"Threads of the coordinator, and of each worker; 0: all cores." default:"0"`
	Wire    wireFormat `help:"Format of activations between coordinator and workers: f32 or bf16." default:"f32"`
	Batch   []int      `help:"How many sequences decode at once, comma-separated." default:"1,8,32"`
	Prompt  []int      `help:"Lengths of prompts, comma-separated." default:"128,512"`
	Context int        `help:"Tokens before those that are decoded." default:"40"`
	Steps   int        `help:"Steps of decoding that count, for each batch." default:"32"`
	JSON    bool       `name:"json" help:"Print JSON."`
}

// Validate implements kong's check of the command line.
func (f *benchModelCommand) Validate() error {
	return errors.Join(notNegative("layers", f.Layers), notNegative("experts", f.Experts),
		atMost("workers", f.Workers, 64), atMost("threads", f.Threads, 1024),
		atLeastOne("context", f.Context), atLeastOne("steps", f.Steps))
}

// Run implements kong's command.
func (f *benchModelCommand) Run(ctx context.Context, c *cli) error {
	switch {
	case f.Model != "" && c.Config != "":
		return errModelAndConfig
	case f.Model == "" && c.Config == "":
		return errors.New("bench model needs --model DIR, or --config FILE: the config.json of a model")
	case f.Model != "" && f.Layers+f.Experts > 0:
		return errors.New("--layers and --experts are for --config: a checkpoint has what it has")
	}
	log := c.Log.logger()
	report, err := bench.Model(ctx, bench.ModelConfig{
		Source: bench.Source{
			Dir: f.Model, Config: string(c.Config), Layers: f.Layers, Experts: f.Experts,
		},
		Workers: f.Workers, Threads: f.Threads, Wire: wire.Format(f.Wire),
		AttentionQuant: f.attention(), ExpertsQuant: f.experts(),
		Batches: f.Batch,
		Prompts: f.Prompt, Context: f.Context, Steps: f.Steps,
		Progress: func(what string) { log.Info("measuring a model", "next", what) },
	})
	if err != nil {
		return err
	}
	if f.JSON {
		return report.WriteJSON(os.Stdout)
	}
	return report.WriteTable(os.Stdout)
}
