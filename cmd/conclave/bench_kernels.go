package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/conclave-serve/conclave/internal/bench"
	"github.com/conclave-serve/conclave/internal/bench/roofs"
	"github.com/conclave-serve/conclave/internal/loadgen/chart"
	"github.com/conclave-serve/conclave/model"
)

// benchKernelsCommand measures kernels. Its --config is the one of cli.
type benchKernelsCommand struct {
	Model    string        `help:"Folder of a checkpoint, whose shapes are measured; default: those of --config, or of Qwen3-30B-A3B." type:"existingdir" placeholder:"DIR"`
	Memory   byteSize      `help:"Memory that weights come from: more than caches hold." default:"1GiB"`
	Threads  int           `help:"Threads that are measured beside one; 0: all cores." default:"0"`
	Duration time.Duration `help:"About how long it takes; 0: a minute, or with --quick some twenty seconds." default:"0"`
	Quick    bool          `help:"Measure 1, 16 and 128 rows only."`
	JSON     bool          `name:"json" help:"Print JSON."`
	Plot     string        `help:"Draw the rooflines into a .svg or .png file." placeholder:"FILE"`
}

// Validate implements kong's check of the command line.
func (f *benchKernelsCommand) Validate() error {
	err := errors.Join(atMost("threads", f.Threads, 1024), notNegative("duration", f.Duration))
	if f.Plot != "" {
		err = errors.Join(err, chart.CheckPath(f.Plot))
	}
	return err
}

// Run implements kong's command.
func (f *benchKernelsCommand) Run(ctx context.Context, c *cli) error {
	shape, err := f.shape(string(c.Config))
	if err != nil {
		return err
	}
	duration := time.Minute
	if f.Quick {
		duration = 10 * time.Second
	}
	log := c.Log.logger()
	report, err := bench.Kernels(ctx, bench.KernelsConfig{
		Shape: shape, Memory: int64(f.Memory), Threads: f.Threads, Quick: f.Quick,
		Duration: cmp.Or(f.Duration, duration),
		Progress: func(round, rounds int) {
			log.Info("measuring kernels", "round", round+1, "of", rounds)
		},
	})
	if err != nil {
		return err
	}
	if f.JSON {
		err = report.WriteJSON(os.Stdout)
	} else {
		err = report.WriteTable(os.Stdout)
	}
	if f.Plot != "" {
		err = errors.Join(err, roofs.WriteFile(f.Plot, report))
	}
	return err
}

// shape is what the flags name.
func (f *benchKernelsCommand) shape(config string) (bench.Shape, error) {
	if f.Model == "" && config == "" {
		return bench.DefaultShape(), nil
	}
	if f.Model != "" && config != "" {
		return bench.Shape{}, errModelAndConfig
	}
	path := cmp.Or(config, filepath.Join(f.Model, "config.json"))
	spec, err := model.ReadConfig(path)
	if err != nil {
		return bench.Shape{}, err
	}
	return bench.ShapeOf(cmp.Or(f.Model, config), spec)
}

var errModelAndConfig = errors.New("--model and --config both name a model: give one of them")
