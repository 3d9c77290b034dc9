package tests

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/coordinator/sample"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// nearby is a layer's way from the gate through a worker's arithmetic and back, without a
// network: route, gather, encode, compute, add.
type nearby struct {
	spec  *model.Spec
	table *router.Table
	store *shard.Store
	pool  *kernels.Pool

	route   router.Route
	work    shard.Work
	layer   int
	x       []float32
	raw     []byte
	tokens  []float32 // of a call
	experts []*shard.Expert
	outputs []float32 // of a call [rows, hidden]
}

// Send implements forward.Experts.
func (n *nearby) Send(_, layer int, x []float32, c router.Choice) {
	n.layer, n.x = layer, x
	n.route.Plan(n.table, layer, c, nil)
}

// Receive implements forward.Experts.
func (n *nearby) Receive(_ context.Context, _ int, out []float32) error {
	h := n.spec.Hidden
	clear(out)
	for i := range n.route.Calls {
		c := &n.route.Calls[i]
		n.raw, n.tokens, n.experts = n.raw[:0], n.tokens[:0], n.experts[:0]
		for _, t := range c.Tokens {
			at := len(n.tokens)
			n.tokens = append(n.tokens, n.x[int(t)*h:][:h]...)
			n.raw = append(n.raw, make([]byte, 2*h)...)
			wire.BF16.Encode(n.raw[2*at:], n.tokens[at:])
			wire.BF16.Decode(n.tokens[at:], n.raw[2*at:])
		}
		for _, e := range c.Experts {
			n.experts = append(n.experts, n.store.Expert(n.layer, int(e)))
		}
		if need := len(c.Rows) * h; cap(n.outputs) < need {
			n.outputs = make([]float32, need)
		}
		n.work.RunGroup(n.pool, n.spec.Activation, shard.Group{
			Experts: n.experts, Counts: c.RowCounts, X: n.tokens, Rows: c.Rows, Weights: c.Weights,
		}, n)
		for row := range c.Rows {
			kernels.Add(out[c.Token(row)*h:][:h], n.outputs[row*h:][:h])
		}
		n.route.Answered(i)
	}
	if !n.route.Complete() {
		return fmt.Errorf("layer %d has experts that nobody was asked for", n.layer)
	}
	return nil
}

// Put implements shard.Sink.
func (n *nearby) Put(row, from int, y []float32) {
	copy(n.outputs[row*n.spec.Hidden+from:row*n.spec.Hidden+n.spec.Hidden], y)
}

// A token in steady state allocates nothing from the embedding to the draw: forward pass,
// gate, route, experts and sampling.
func TestTokenAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector slices and closures escape that otherwise do not")
	}
	for _, name := range []string{"qwen3moe-norm", "gptoss-32-experts", "deepseek-v3-fp8"} {
		c := startCluster(t, goldenDir+"/"+name, 1)
		pool := kernels.NewPool(2)
		t.Cleanup(pool.Close)
		n := &nearby{spec: c.spec, store: c.workers[0].store, pool: pool}
		holder := router.Holder{ID: c.workers[0].id, Reachable: true}
		for _, experts := range c.expertCounts() {
			var all shard.Set
			for e := range experts {
				all.Add(e)
			}
			holder.Ready = append(holder.Ready, all)
		}
		n.table = router.NewTable(nil, c.expertCounts(), []router.Holder{holder})
		m, err := forward.New(t.Context(), forward.Config{
			Spec: c.spec, Checkpoint: c.checkpoint, Cache: c.cache, Pool: pool, Experts: n,
			MaxRows: 8, MaxLogits: 8,
		})
		if err != nil {
			t.Fatal(err)
		}
		seq := c.sequence(64)
		defer c.cache.Release(&seq.kv)
		rows := c.rows(t, seq, readGolden(t, name).tokens(t, "input_ids")[:3], true)
		sampler := sample.New(sample.Params{Temperature: 0.8, TopP: 0.95}, c.spec.Vocab, nil)
		token := func() {
			logits, err := m.Step(context.Background(), rows, 1)
			if err != nil {
				t.Fatal(err)
			}
			if math.IsNaN(float64(logits[0])) {
				t.Fatal("logits are not numbers")
			}
			if _, err := sampler.Choose(logits[len(logits)-c.spec.Vocab:], nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		token()
		if n := testing.AllocsPerRun(30, token); n != 0 {
			t.Errorf("%s: %v allocations for a step and a draw", name, n)
		}
	}
}
