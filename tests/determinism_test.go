package tests

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/shard"
)

// determinismCases are the checkpoints that the contract is tested on: all
// families and formats, dense and MoE layers, odd sizes, windows, latent
// attention in both of its forms.
var determinismCases = []string{
	"qwen3moe-norm", "qwen3moe-nonorm-bf16", "qwen3moe-mixed-f16", "qwen3-dense-untied-bf16",
	"qwen3moe-fp8-yarn", "gptoss-32-experts", "gptoss-full-first", "deepseek-v3-fp8", "deepseek-v3-long",
	"deepseek-v2-lite", "kimi-k2-ragged", "glm4moe-qknorm",
}

// sameBits fails at the first value whose bits differ.
func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: value %d is %x, want %x", what, i, got[i], want[i])
		}
	}
}

// prompts cuts a golden's prompt into several of different lengths.
func prompts(t *testing.T, name string) [][]int32 {
	all := readGolden(t, name).tokens(t, "input_ids")
	return [][]int32{all, all[3:40], all[10:11], all[5:70]}
}

// together runs all prompts in the same steps, chunk positions of each at a
// time, and returns the logits of every position of each prompt.
func together(t *testing.T, c *cluster, prompts [][]int32, chunk int) [][]float32 {
	t.Helper()
	out := make([][]float32, len(prompts))
	seqs := make([]*testSequence, len(prompts))
	for i := range seqs {
		seqs[i] = c.sequence(len(prompts[i]))
		defer c.cache.Release(&seqs[i].kv)
	}
	for more := true; more; {
		var rows []forward.Row
		counts := make([]int, len(prompts))
		for i, p := range prompts {
			left := p[seqs[i].len:]
			counts[i] = min(chunk, len(left))
			rows = append(rows, c.rows(t, seqs[i], left[:counts[i]], true)...)
		}
		more = len(rows) > 0
		if !more {
			break
		}
		logits := c.step(t, rows)
		for i, n := range counts {
			out[i] = append(out[i], logits[:n*c.spec.Vocab]...)
			logits = logits[n*c.spec.Vocab:]
		}
	}
	return out
}

// One answer: the bits of every logit are the same for 1, 2 and 5 workers, for
// prompts alone or in one batch, and however prompts are cut into chunks.
func TestOneAnswer(t *testing.T) {
	for _, name := range determinismCases {
		t.Run(name, func(t *testing.T) {
			ps := prompts(t, name)
			alone := startCluster(t, goldenDir+"/"+name, 1)
			var want [][]float32
			for _, p := range ps {
				want = append(want, alone.prefill(t, p, len(p)))
			}
			for _, workers := range []int{1, 2, 5} {
				c := startCluster(t, goldenDir+"/"+name, workers)
				for i, p := range ps {
					for _, chunk := range []int{1, 7, 32, len(p)} {
						what := fmt.Sprintf("%d workers, prompt %d in chunks of %d", workers, i, chunk)
						sameBits(t, what, c.prefill(t, p, chunk), want[i])
					}
				}
				for _, chunk := range []int{1, 9, 50} {
					for i, got := range together(t, c, ps, chunk) {
						sameBits(t, fmt.Sprintf("%d workers, prompt %d in one batch, chunks of %d", workers, i, chunk), got, want[i])
					}
				}
			}
		})
	}
}

// The contract holds for the rounded wire format too: rounding happens at the
// boundary wherever the expert is.
func TestOneAnswerBF16Wire(t *testing.T) {
	const name = "qwen3moe-norm"
	ps := prompts(t, name)
	one := startClusterWire(t, goldenDir+"/"+name, 1, wire.BF16)
	five := startClusterWire(t, goldenDir+"/"+name, 5, wire.BF16)
	exact := startCluster(t, goldenDir+"/"+name, 1)
	for i, p := range ps {
		want := one.prefill(t, p, len(p))
		sameBits(t, fmt.Sprintf("prompt %d", i), five.prefill(t, p, 7), want)
		var sum float64
		for j, v := range exact.prefill(t, p, len(p)) {
			sum += math.Abs(float64(v) - float64(want[j]))
		}
		// A rounded input may flip a gate of these tiny random models, so single
		// logits move far; most do not.
		if mean := sum / float64(len(want)); mean == 0 || mean > 0.1 {
			t.Errorf("prompt %d: bf16 on the wire changes logits by %g on average", i, mean)
		}
	}
}

// Moving experts and losing a worker in the middle of a prompt change nothing.
func TestOneAnswerThroughFailure(t *testing.T) {
	for _, name := range []string{"qwen3moe-norm", "gptoss-32-experts", "deepseek-v3-long", "glm4moe-qknorm"} {
		t.Run(name, func(t *testing.T) { oneAnswerThroughFailure(t, name) })
	}
}

func oneAnswerThroughFailure(t *testing.T, name string) {
	p := prompts(t, name)[0]
	c := startCluster(t, goldenDir+"/"+name, 2)
	want := c.prefill(t, p, len(p))

	s := c.sequence(len(p))
	defer c.cache.Release(&s.kv)
	got := c.advance(t, s, p[:20], 5, true)
	c.workers = append(c.workers, c.startWorker(t, "w9"))
	c.replan(t, c.workers...)
	got = append(got, c.advance(t, s, p[20:40], 5, true)...)
	// The first worker dies without notice; its experts are placed on the
	// others while the step that needs them waits.
	lost := c.dispatcher.Changed()
	c.workers[0].server.Stop()
	replanned := make(chan struct{})
	go func() {
		defer close(replanned)
		<-lost
		c.replan(t, c.workers[1:]...)
	}()
	got = append(got, c.advance(t, s, p[40:], 5, true)...)
	<-replanned
	sameBits(t, "logits", got, want)
}

// All workers die in the middle of a prompt, and come back while tokens are
// decoded. The coordinator computes the same bits meanwhile, in every format of
// weights and on either wire.
func TestOneAnswerFromTheLastResort(t *testing.T) {
	for _, name := range []string{
		"qwen3moe-norm", "qwen3moe-fp8-yarn", "gptoss-32-experts", "deepseek-v3-fp8",
	} {
		for _, format := range []wire.Format{wire.F32, wire.BF16} {
			t.Run(name+"/"+format.String(), func(t *testing.T) {
				s := setting{format: format, threads: 2}
				oneAnswerFromTheLastResort(t, goldenDir+"/"+name, prompts(t, name)[0], s)
			})
		}
	}
}

// The same of a cluster that quantises its weights, and the answer is another than
// that of the stored ones.
func TestOneAnswerQuantised(t *testing.T) {
	for name, with := range map[string]setting{
		"qwen3moe-fp8-yarn": {experts: shard.QuantInt8, attention: shard.QuantInt4},
		"qwen3moe-norm":     {experts: shard.QuantInt4},
		"gptoss-32-experts": {experts: shard.QuantInt4, attention: shard.QuantInt8},
		"deepseek-v3-fp8":   {attention: shard.QuantInt8},
		"gptoss-full-first": {experts: shard.QuantNone.Rounded()},
		"glm4moe-air": {
			experts: shard.QuantInt8.Rounded(), attention: shard.QuantInt4.Rounded(),
		},
		"kimi-k2-fp8": {
			experts: shard.QuantInt4.Rounded(), attention: shard.QuantInt8.Rounded(),
		},
		"qwen3moe-nonorm-bf16": {
			experts: shard.QuantInt4.Rounded(), attention: shard.QuantInt8.Rounded(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			with.format, with.threads = wire.F32, 2
			dir, p := goldenDir+"/"+name, prompts(t, name)[0]
			got := oneAnswerFromTheLastResort(t, dir, p, with)
			if slices.Equal(got, startCluster(t, dir, 1).prefill(t, p, len(p))) {
				t.Error("nothing was quantised")
			}
		})
	}
}

// The same of processes whose threads are on several memory nodes, at one token and at many.
func TestOneAnswerOnNodes(t *testing.T) {
	for name, with := range map[string]setting{
		"qwen3moe-nonorm-bf16": {},
		"qwen3moe-norm":        {experts: shard.QuantInt4, attention: shard.QuantInt8},
		"gptoss-32-experts":    {experts: shard.QuantNone.Rounded(), attention: shard.QuantInt8.Rounded()},
		"deepseek-v3-fp8":      {experts: shard.QuantInt8.Rounded(), attention: shard.QuantInt4},
	} {
		for _, nodes := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s/%d", name, nodes), func(t *testing.T) {
				with.format, with.threads, with.nodes = wire.F32, 2, 0
				dir, p := goldenDir+"/"+name, prompts(t, name)[0]
				want := startClusterAs(t, dir, 1, with).prefill(t, p, len(p))
				with.threads, with.nodes = 4, nodes
				c := startClusterAs(t, dir, 2, with)
				s := c.sequence(len(p))
				defer c.cache.Release(&s.kv)
				got := c.advance(t, s, p[:50], 50, true)
				sameBits(t, "logits", append(got, c.advance(t, s, p[50:], 1, true)...), want)
			})
		}
	}
}

func oneAnswerFromTheLastResort(
	t *testing.T, dir string, p []int32, with setting,
) (got []float32) {
	want := startClusterAs(t, dir, 1, with).prefill(t, p, len(p))
	with.resort = true
	c := startClusterAs(t, dir, 2, with)
	s := c.sequence(len(p))
	defer c.cache.Release(&s.kv)
	got = c.advance(t, s, p[:20], 10, true)
	if n := c.dispatcher.Totals().LastResortExperts; n != 0 {
		t.Errorf("%d experts computed by the coordinator though workers live", n)
	}
	for _, w := range c.workers {
		w.server.Stop()
	}
	got = append(got, c.advance(t, s, p[20:50], 10, true)...)
	got = append(got, c.advance(t, s, p[50:55], 1, true)...)
	computed := c.dispatcher.Totals().LastResortExperts
	if computed == 0 || !c.dispatcher.LastResort() {
		t.Errorf("%d experts computed by the coordinator, active: %v", computed, c.dispatcher.LastResort())
	}
	c.replan(t, c.startWorker(t, "w9"))
	c.await(t)
	got = append(got, c.advance(t, s, p[55:], 1, true)...)
	if n := c.dispatcher.Totals().LastResortExperts; n != computed || c.dispatcher.LastResort() {
		t.Errorf("%d more experts computed by the coordinator", n-computed)
	}
	sameBits(t, "logits", got, want)
	return got
}

// Replicas share the experts of a prompt, and the bits stay the same when one of
// them dies.
func TestOneAnswerFromReplicas(t *testing.T) {
	for _, name := range []string{"qwen3moe-norm", "gptoss-32-experts"} {
		t.Run(name, func(t *testing.T) {
			p := prompts(t, name)[0]
			c := startCluster(t, goldenDir+"/"+name, 1)
			want := c.prefill(t, p, len(p))
			c.workers = append(c.workers, c.startWorker(t, "w8"), c.startWorker(t, "w9"))
			c.replicate(t)
			for _, chunk := range []int{len(p), 40} {
				sameBits(t, "logits", c.prefill(t, p, chunk), want)
			}
			for id, h := range c.dispatcher.Hops() {
				if h.Calls == 0 {
					t.Errorf("worker %s was not asked", id)
				}
			}
			c.workers[1].server.Stop()
			sameBits(t, "logits with a worker less", c.prefill(t, p, len(p)), want)
		})
	}
}
