package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/conclave-serve/conclave/internal/loadgen"
	"github.com/conclave-serve/conclave/internal/loadgen/chart"
)

// benchServeCommand puts load on a server. Its --model is a name, while that of other commands is
// a folder: hence an environment twin of its own.
type benchServeCommand struct {
	URL      string `help:"Address of the server, with or without /v1." default:"http://127.0.0.1:8080"`
	Model    string `help:"Name of the model; default: the first that the server lists." env:"CONCLAVE_BENCH_MODEL"`
	APIKey   string `help:"Key that the server asks for." placeholder:"KEY"`
	Endpoint string `help:"What is asked: chat or completions." enum:"chat,completions" default:"chat"`

	Rate        float64       `help:"Requests per second, whatever the server does; 0: as fast as it answers." default:"0"`
	Arrival     string        `help:"How requests at a rate are spread: fixed or poisson." enum:"fixed,poisson" default:"poisson"`
	Concurrency int           `help:"Requests at once; with a rate the most. 0: 1, or with a rate 10,000." default:"0"`
	Requests    int           `help:"How many; 0: 100, or with a duration no limit." default:"0"`
	Duration    time.Duration `help:"How long requests are sent; 0: until there are enough." default:"0"`
	Warmup      int           `help:"Requests before those that count." default:"0"`
	Timeout     time.Duration `help:"Longest time for one answer." default:"10m"`

	PromptTokens loadgen.Distribution `help:"Length of prompts: N, uniform:LOW-HIGH, normal:MEAN,SD, lognormal:MEDIAN,SIGMA or zipf:MAX,EXPONENT." default:"128" placeholder:"LENGTHS"`
	OutputTokens loadgen.Distribution `help:"Length of answers, in the same forms." default:"128" placeholder:"LENGTHS"`
	SharedPrefix int                  `help:"Tokens that come first in many prompts, before --prompt-tokens." default:"0"`
	Prefixes     int                  `help:"How many such beginnings there are." default:"1"`
	Prompts      string               `help:"File of prompts instead: JSON lines with prompt or messages, and output_tokens if you like." placeholder:"FILE" type:"existingfile"`
	Seed         uint64               `help:"Seed of lengths, prompts and arrivals." default:"0"`

	IgnoreEOS   bool     `name:"ignore-eos" help:"Make answers as long as asked for, if the server can."`
	Temperature *float64 `help:"Sampling temperature; default: the server's."`
	SendSeed    bool     `help:"Send each request with a sampling seed of its own."`
	ExtraBody   string   `help:"JSON object of more fields for each request; null takes one out." placeholder:"JSON"`

	SLO     loadgen.SLO `name:"slo" help:"Limits for goodput: ttft:500ms,itl:50ms,tpot:40ms,e2e:10s, or some of them." placeholder:"LIMITS"`
	JSON    bool        `name:"json" help:"Print JSON."`
	JSONRaw bool        `name:"json-raw" help:"Print JSON with every request."`
	Plot    string      `help:"Draw the run into a .svg or .png file." placeholder:"FILE"`
}

// Validate implements kong's check of the command line.
func (f *benchServeCommand) Validate() error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	if f.Plot == "" {
		return nil
	}
	return chart.CheckPath(f.Plot)
}

func (f *benchServeCommand) config() (loadgen.Config, error) {
	var extra map[string]json.RawMessage
	if f.ExtraBody != "" {
		if err := json.Unmarshal([]byte(f.ExtraBody), &extra); err != nil {
			return loadgen.Config{}, fmt.Errorf("--extra-body: want a JSON object: %w", err)
		}
	}
	key, _, _ := strings.Cut(f.APIKey, ",") // the twin may hold all keys of a coordinator
	return loadgen.Config{
		URL: f.URL, Model: f.Model, APIKey: key, Endpoint: loadgen.Endpoint(f.Endpoint), SLO: f.SLO,
		Load: loadgen.Load{
			Rate: f.Rate, Arrival: loadgen.Arrival(f.Arrival), Concurrency: f.Concurrency,
			Requests: f.Requests, Duration: f.Duration, Warmup: f.Warmup, Timeout: f.Timeout,
		},
		Work: loadgen.Work{
			File: f.Prompts, Prompt: f.PromptTokens, Output: f.OutputTokens,
			SharedPrefix: f.SharedPrefix, Prefixes: f.Prefixes, Seed: f.Seed,
		},
		Body: loadgen.Body{
			IgnoreEOS: f.IgnoreEOS, Temperature: f.Temperature, SendSeed: f.SendSeed, Extra: extra,
		},
	}, nil
}

// Run implements kong's command.
func (f *benchServeCommand) Run(ctx context.Context, c *cli) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	progress := newBenchProgress(cfg.Load.Duration, c.Log.logger())
	cfg.Progress = progress.show
	report, err := loadgen.Run(ctx, cfg)
	progress.end()
	if err != nil {
		return err
	}
	if f.JSON || f.JSONRaw {
		err = report.WriteJSON(os.Stdout, f.JSONRaw)
	} else {
		err = report.WriteTable(os.Stdout)
	}
	if f.Plot != "" {
		err = errors.Join(err, chart.WriteFile(f.Plot, report))
	}
	if err == nil && report.Requests.Finished == 0 {
		return errors.New("no request finished")
	}
	return err
}
