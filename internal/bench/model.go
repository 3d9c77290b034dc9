package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/coordinator/sample"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/shard"
)

// ModelConfig says what Model measures. Zero values mean the defaults.
type ModelConfig struct {
	Source Source // required
	// Workers share the experts; default 1.
	Workers int
	// Threads is the number of cores that each end computes on; default all.
	Threads int
	// Wire is what activations are rounded to; default F32, which rounds nothing.
	Wire wire.Format
	// AttentionQuant and ExpertsQuant are what weights are quantised to as they are loaded;
	// default: as they are stored.
	AttentionQuant, ExpertsQuant shard.Quant
	// Batches are how many sequences decode at once; default 1, 8 and 32.
	Batches []int
	// Prompts are the lengths of prompts that are computed in one step; default 128 and 512.
	Prompts []int
	// Steps is how many of decoding count for each batch; default 32.
	Steps int
	// Context is how many tokens stand before those that are decoded; default 40.
	Context int
	// Progress, if set, hears what is measured next.
	Progress func(what string)
}

const (
	// skippedSteps of decoding come before those that count: buffers grow in them.
	skippedSteps = 3
	// repeats is how often a prompt is computed; the best counts.
	repeats = 3
	// Limits of what is asked for: more is a typing mistake, and memory is taken for it.
	maxBatch, maxPrompt, maxSteps = 1024, 1 << 16, 1 << 16
)

func (c *ModelConfig) setDefaults() error {
	c.Workers = cmp.Or(c.Workers, 1)
	c.Threads = cmp.Or(c.Threads, runtime.GOMAXPROCS(0))
	c.Wire = cmp.Or(c.Wire, wire.F32)
	c.Steps = cmp.Or(c.Steps, 32)
	c.Context = cmp.Or(c.Context, 40)
	if c.Batches == nil {
		c.Batches = []int{1, 8, 32}
	}
	if c.Prompts == nil {
		c.Prompts = []int{128, 512}
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if c.Source.Dir == "" && c.Source.Config == "" {
		return errors.New("a checkpoint or a config.json is needed")
	}
	check := func(what string, most int, values ...int) (err error) {
		for _, v := range values {
			if v < 1 || v > most {
				err = errors.Join(err, fmt.Errorf("%s %d: want 1 to %d", what, v, most))
			}
		}
		return err
	}
	return errors.Join(
		check("workers", 64, c.Workers), check("threads", 1024, c.Threads),
		check("steps", maxSteps, c.Steps), check("context", maxPrompt, c.Context),
		check("batch of", maxBatch, c.Batches...), check("prompt of", maxPrompt, c.Prompts...))
}

// ModelReport is what Model found.
type ModelReport struct {
	Model    string `json:"model"`
	Family   string `json:"family"`
	Layers   int    `json:"layers"`
	Experts  int    `json:"experts"`
	TopK     int    `json:"experts_per_token"`
	Features string `json:"features"`
	Workers  int    `json:"workers"`
	Threads  int    `json:"threads"`
	Wire     string `json:"wire"`

	AttentionQuant string `json:"attention_quant"`
	ExpertsQuant   string `json:"experts_quant"`

	Runs []ModelStep `json:"runs"`
}

// ModelStep is one kind of step. Times are in seconds.
type ModelStep struct {
	Kind string `json:"kind"` // decode or prefill
	Rows int    `json:"rows"` // positions computed in a step
	// Steps are those that were measured, of prompts the best one alone.
	Steps int `json:"steps"`
	// Seconds is what a step took on average, from its beginning to that of the next one; Best the
	// shortest.
	Seconds float64 `json:"seconds"`
	Best    float64 `json:"best_seconds"`
	// TokensPerSecond is Rows by Seconds.
	TokensPerSecond float64 `json:"tokens_per_second"`
	Split           Split   `json:"split_seconds"`
	// Covered is the sum of the split by Seconds.
	Covered float64 `json:"covered"`
	// Allocations and AllocatedBytes are those of one token, at both ends together; Collections
	// the garbage collector's cycles for 1,000 tokens.
	Allocations    float64 `json:"allocations_per_token"`
	AllocatedBytes float64 `json:"allocated_bytes_per_token"`
	Collections    float64 `json:"gc_cycles_per_1000_tokens"`
}

// Model measures whole steps of a model: a coordinator's engine and forward pass, lanes over
// loopback, and workers, in this process and without a cluster.
func Model(ctx context.Context, cfg ModelConfig) (_ *ModelReport, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	cfg.Progress("load")
	dir, remove, err := cfg.Source.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	ck, err := openCheckpoint(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ck.tensors.Close()) }()
	b := &modelBench{cfg: cfg}
	b.cfg.ExpertsQuant, err = cfg.ExpertsQuant.Beside(cfg.AttentionQuant, ck.spec, ck.tensors)
	if err != nil {
		return nil, err
	}
	cfg.ExpertsQuant = b.cfg.ExpertsQuant
	if err := b.start(ctx, ck); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	report := &ModelReport{
		Model: cmp.Or(cfg.Source.Dir, cfg.Source.Config), Family: ck.spec.Family,
		Layers: len(ck.spec.Layers), Experts: ck.spec.Experts, TopK: ck.spec.TopK,
		Features: kernels.Features(), Workers: cfg.Workers, Threads: cfg.Threads,
		Wire: cfg.Wire.String(), AttentionQuant: cfg.AttentionQuant.String(),
		ExpertsQuant: cfg.ExpertsQuant.String(),
	}
	for _, n := range cfg.Prompts {
		step, err := b.prefill(ctx, n)
		if err != nil {
			return nil, err
		}
		report.Runs = append(report.Runs, step)
	}
	for _, n := range cfg.Batches {
		step, err := b.decode(ctx, n)
		if err != nil {
			return nil, err
		}
		report.Runs = append(report.Runs, step)
	}
	return report, nil
}

// modelBench is a rig under an engine whose steps are recorded.
type modelBench struct {
	cfg      ModelConfig
	rig      *rig
	engine   *engine.Engine
	recorder recorder
}

func (b *modelBench) start(ctx context.Context, ck *checkpoint) error {
	rows, sequences := b.cfg.Context+1, 1
	for _, n := range b.cfg.Prompts {
		rows = max(rows, n)
	}
	for _, n := range b.cfg.Batches {
		rows, sequences = max(rows, n), max(sequences, n)
	}
	positions := max(rows, b.cfg.Context+b.cfg.Steps+spareTokens) + spareTokens
	if positions > ck.spec.MaxPositions {
		return fmt.Errorf("sequences of %d positions: the model has %d", positions,
			ck.spec.MaxPositions)
	}
	var err error
	b.rig, err = newRig(ctx, ck, rigConfig{
		workers: b.cfg.Workers, threads: b.cfg.Threads, wire: b.cfg.Wire, maxRows: rows,
		attention: b.cfg.AttentionQuant, experts: b.cfg.ExpertsQuant,
		sequences: sequences, positions: positions, onAnswered: func() { b.recorder.answered() },
	})
	if err != nil {
		return err
	}
	b.recorder.model, b.recorder.hops = b.rig.model, b.rig.hops
	b.rig.model.Clock = b.recorder.phase
	b.engine, err = engine.New(engine.Config{
		Model: &b.recorder, Cache: b.rig.cache, Session: b.rig.dispatcher, Vocab: ck.spec.Vocab,
		Tokens: ck.spec.Vocab, Context: ck.spec.MaxPositions, MaxRows: rows,
		MaxLogits: min(rows, sequences), MaxRunning: sequences, MaxWaiting: sequences,
		MicroBatches: 1, Pool: b.rig.pool, OnStep: b.recorder.onStep,
		Expanded: func(prompt int) int { return forward.Expanded(ck.spec, prompt) },
	})
	if err != nil {
		return errors.Join(err, b.rig.close())
	}
	return nil
}

func (b *modelBench) close() error {
	b.engine.Close()
	return b.rig.close()
}

// spareTokens are for the steps before those that count, in which prompts are computed and some
// sequences decode already, and for the one whose beginning closes the window.
const spareTokens = 64

// prefill measures a prompt of n tokens, which is one step.
func (b *modelBench) prefill(ctx context.Context, n int) (ModelStep, error) {
	b.cfg.Progress(fmt.Sprintf("prompt of %d", n))
	var best ModelStep
	for i := range repeats {
		if err := b.complete(ctx, 1, n, 1, false); err != nil {
			return best, err
		}
		step, err := b.step("prefill", n)
		if err != nil {
			return best, err
		}
		if i == 0 || step.Seconds < best.Seconds {
			best = step
		}
	}
	return best, nil
}

// decode measures steps in which n sequences advance by a token each.
func (b *modelBench) decode(ctx context.Context, n int) (ModelStep, error) {
	b.cfg.Progress(fmt.Sprintf("decode, batch of %d", n))
	if err := b.complete(ctx, n, b.cfg.Context, b.cfg.Steps, true); err != nil {
		return ModelStep{}, err
	}
	return b.step("decode", n)
}

// complete runs n requests with prompts of a length until so many steps are recorded.
func (b *modelBench) complete(ctx context.Context, n, prompt, steps int, decoding bool) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	hold := make(chan struct{}) // until all are there: the first would run ahead
	if decoding {
		b.recorder.watch(n, skippedSteps, steps, true, hold, cancel)
	} else {
		b.recorder.watch(prompt, 0, steps, false, hold, cancel)
	}
	streams, failed := b.submit(running, n, prompt, skippedSteps+steps+spareTokens)
	close(hold)
	if failed != nil {
		cancel()
	}
	for _, events := range streams {
		for e := range events {
			failed = errors.Join(failed, e.Err)
		}
	}
	return errors.Join(failed, ctx.Err())
}

func (b *modelBench) submit(
	ctx context.Context, n, prompt, tokens int,
) (streams []<-chan engine.Event, err error) {
	for i := range n {
		ids := make([]int32, prompt)
		for k := range ids {
			ids[k] = int32((i*7919 + k*104729 + 11) % b.rig.spec.Vocab)
		}
		events, err := b.engine.Submit(ctx, engine.Request{
			ID: fmt.Sprint(i), Prompt: ids, MaxTokens: tokens,
			Sampling: sample.Params{Temperature: 0.8, TopP: 0.95, Seed: uint64(i)}, Logprobs: -1,
		})
		if err != nil {
			return streams, err
		}
		streams = append(streams, events)
	}
	return streams, nil
}

// step reads the recorder when its requests have ended.
func (b *modelBench) step(kind string, rows int) (ModelStep, error) {
	r := &b.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wall == 0 {
		return ModelStep{}, fmt.Errorf("%s of %d: no step had that many rows", kind, rows)
	}
	n := float64(len(r.each))
	s := ModelStep{
		Kind: kind, Rows: rows, Steps: len(r.each), Seconds: r.wall.Seconds() / n,
		Best: quantile(r.each, 0), Split: r.split(),
	}
	tokens := n * float64(rows)
	s.TokensPerSecond = float64(rows) / s.Seconds
	s.Covered = s.Split.Sum() / s.Seconds
	s.Allocations = float64(r.to.objects-r.from.objects) / tokens
	s.AllocatedBytes = float64(r.to.bytes-r.from.bytes) / tokens
	s.Collections = 1000 * float64(r.to.collections-r.from.collections) / tokens
	return s, nil
}
