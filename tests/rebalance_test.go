package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/synth"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// mediumConfig is a model whose experts take longer than their messages.
var mediumConfig = map[string]any{
	"architectures": []string{"Qwen3MoeForCausalLM"}, "model_type": "qwen3_moe",
	"hidden_size": 1024, "moe_intermediate_size": 512, "intermediate_size": 1024,
	"num_hidden_layers": 3, "num_experts": 24, "num_experts_per_tok": 6,
	"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64,
	"vocab_size": 512, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
	"rope_theta": 1e6, "hidden_act": "silu", "norm_topk_prob": true,
	"decoder_sparse_step": 1, "mlp_only_layers": []int{}, "tie_word_embeddings": false,
	"attention_bias": false, "torch_dtype": "bfloat16", "initializer_range": 0.02,
	"bos_token_id": 0, "eos_token_id": 1,
}

// TestRebalance decodes two sequences, of one token again and again, so that
// few experts have all of the load, on two workers with one copy of every expert. Rebalancing by that load, layer by layer between steps, must leave the
// slowest worker fewer experts to read, as it says before, and every bit as it
// was. How long the workers computed is logged.
func TestRebalance(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "config.json")
	text, err := json.Marshal(mediumConfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(home, "model")
	if _, err := synth.Run(t.Context(), synth.Config{File: file, Out: dir, Seed: 7}); err != nil {
		t.Fatal(err)
	}
	c := startClusterOf(t, dir, 2, wire.F32, 1)
	const steps = 40
	before := c.decodeSkewed(t, steps, func(int) {})
	d := &shard.Demand{Copies: 1, Load: before.load}
	for l, n := range c.expertCounts() {
		d.Layers = append(d.Layers, shard.Layer{Experts: n, ExpertBytes: c.spec.ExpertBytes(c.checkpoint, l)})
	}
	for _, w := range c.workers {
		d.Workers = append(d.Workers, shard.Capacity{ID: w.id})
	}
	r := d.Rebalance(c.plan)
	if r == nil {
		t.Fatal("no rebalance")
	}
	meanwhile := c.decodeSkewed(t, steps, func(step int) {
		if i := step / 4; step%4 == 0 && i < len(r.Steps) {
			c.shift(t, d.Apply(c.plan, r.Steps[i:i+1]))
		}
	})
	after := c.decodeSkewed(t, steps, func(int) {})
	for name, got := range map[string]skewed{"meanwhile": meanwhile, "after": after} {
		if !slices.Equal(got.logits, before.logits) {
			t.Errorf("%s: other bits than before", name)
		}
	}
	t.Logf("predicted: slowest worker %.4f → %.4f s for a second of the load, balancedness %.2f → %.2f; %d layers",
		r.Before.Slowest, r.After.Slowest, r.Before.Balancedness(), r.After.Balancedness(), len(r.Steps))
	t.Logf("counted: the slowest worker of each layer reads %.2f → %.2f experts in a step",
		before.slowest, after.slowest)
	t.Logf("measured: the slowest worker of each layer computes %v → %v, all workers %v → %v in a step",
		before.longest.Round(time.Microsecond), after.longest.Round(time.Microsecond),
		before.together.Round(time.Microsecond), after.together.Round(time.Microsecond))
	if r.After.Slowest >= r.Before.Slowest || after.slowest >= before.slowest {
		t.Error("the slowest worker is no faster")
	}
	d.Load = after.load
	if again := d.Rebalance(c.plan); again != nil {
		t.Errorf("and again: %+v", again)
	}
}

// skewed is what some steps were like.
type skewed struct {
	logits  []float32
	load    shard.Load // reads in a step, as if that took a second
	slowest float64    // experts that the slowest worker of each layer reads in a step
	// Computing in a step, of each layer's slowest worker and of all workers: what
	// nine of ten steps exceed, as others may share the machine.
	longest, together time.Duration
}

// decodeSkewed decodes the same two sequences. meanwhile runs before each step.
func (c *cluster) decodeSkewed(t *testing.T, steps int, meanwhile func(step int)) skewed {
	t.Helper()
	out := skewed{load: make(shard.Load, len(c.spec.Layers))}
	for l, n := range c.expertCounts() {
		out.load[l] = make([]float64, n)
	}
	var route router.Route
	var most, sum time.Duration // of this step
	was := c.dispatcher.Hops()
	layerDone := func() {
		now, longest := c.dispatcher.Hops(), time.Duration(0)
		for w, h := range now {
			spent := h.Compute - was[w].Compute
			longest, sum = max(longest, spent), sum+spent
		}
		was, most = now, most+longest
	}
	c.model.TraceChoice = func(layer int, choice router.Choice) {
		layerDone() // the one before
		route.Plan(c.dispatcher.Table(), layer, choice, nil)
		most := 0
		for _, call := range route.Calls {
			most = max(most, len(call.Experts))
			for _, e := range call.Experts {
				out.load[layer][e] += 1 / float64(steps)
			}
		}
		out.slowest += float64(most) / float64(steps)
	}
	defer func() { c.model.TraceChoice = nil }()
	a, b := c.sequence(1), c.sequence(1)
	defer func() { c.cache.Release(&a.kv); c.cache.Release(&b.kv) }()
	var longest, together []time.Duration
	for step := range steps {
		meanwhile(step)
		most, sum = 0, 0
		rows := append(c.rows(t, a, []int32{7}, true), c.rows(t, b, []int32{7}, true)...)
		out.logits = append(out.logits, c.step(t, rows)...)
		layerDone()
		longest, together = append(longest, most), append(together, sum)
	}
	slices.Sort(longest)
	slices.Sort(together)
	out.longest, out.together = longest[steps/10], together[steps/10]
	return out
}

// shift brings the cluster to a plan: copies first, then the table, and what the
// plan does not give goes last.
func (c *cluster) shift(t *testing.T, plan *shard.Plan) {
	t.Helper()
	c.plan = plan
	for _, w := range c.workers {
		for l, set := range plan.Assigned(w.id) {
			if err := w.store.Load(t.Context(), l, set, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.update(c.workers...)
	c.await(t)
	if table := c.dispatcher.Table(); !table.Settled || table.Epoch != plan.Epoch {
		t.Fatalf("the table is of epoch %d, settled: %v", table.Epoch, table.Settled)
	}
	for _, w := range c.workers {
		held, assigned := w.store.Held(), plan.Assigned(w.id)
		for l := range held {
			w.store.Drop(l, held[l].Minus(assigned[l]))
		}
	}
	c.update(c.workers...)
}
