package engine

import (
	"context"
	"math"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/coordinator/kvcache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testVocab  = 50 // of the logits
	testTokens = 48 // of those, may be sampled
	poison     = 49 // a sequence that contains it gets NaN for logits; it is never sampled
)

// fakeModel is a model whose logits are a pure function of the tokens so far.
// It keeps them in the cache, where a real one keeps keys and values: pages
// that are lost, shared or not filled again show in its output.
type fakeModel struct {
	cache  *kvcache.Cache
	logits []float32
	memory int // if positive, how many of the latest tokens logits depend on

	// entered, if set, receives the rows of each step, which then waits for
	// the step's result on proceed.
	entered chan []forward.Row
	proceed chan error

	mu      sync.Mutex
	batches []batch
}

// batch is the size of one step.
type batch struct{ rows, logits int }

// Step implements Model.
func (m *fakeModel) Step(ctx context.Context, rows []forward.Row, _ int) ([]float32, error) {
	if m.entered != nil {
		select {
		case m.entered <- rows:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		select {
		case err := <-m.proceed:
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	b := batch{rows: len(rows)}
	m.logits = m.logits[:0]
	for _, r := range rows {
		m.cache.Put(r.Seq, 0, r.Pos, []float32{float32(r.Token) + 1}, []float32{0})
		if !r.Logits {
			continue
		}
		b.logits++
		h := newHash()
		from := 0
		if m.memory > 0 {
			from = max(0, r.Pos+1-m.memory)
		}
		for pos := from; pos <= r.Pos; pos++ {
			var key [1]float32
			keys, _ := m.cache.Page(r.Seq, 0, 0, pos/kvcache.PageTokens)
			keys.Decode(key[:], pos%kvcache.PageTokens)
			h.add(int32(key[0]) - 1)
		}
		m.logits = h.appendLogits(m.logits)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batches = append(m.batches, b)
	return m.logits, nil
}

// hash sums up a sequence of tokens.
type hash struct {
	sum      uint64
	poisoned bool
}

func newHash() hash { return hash{sum: 0xcbf29ce484222325} }

func (h *hash) add(token int32) {
	h.sum = (h.sum ^ uint64(token+1)) * 0x100000001b3
	h.poisoned = h.poisoned || token == poison
}

// appendLogits makes one token likely and the others about equal.
func (h *hash) appendLogits(to []float32) []float32 {
	for v := range uint64(testVocab) {
		noise := (h.sum ^ (v+1)*0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd >> 40
		l := float32(noise) / (1 << 23)
		if v == h.sum>>20%testTokens {
			l += 8
		}
		if h.poisoned {
			l = float32(math.NaN())
		}
		to = append(to, l)
	}
	return to
}

// logitsAfter is the distribution of the token after tokens.
func logitsAfter(tokens []int32) []float32 {
	h := newHash()
	for _, t := range tokens {
		h.add(t)
	}
	return h.appendLogits(nil)
}

// continuation is what greedy decoding must produce.
func continuation(prompt []int32, n int) []int32 { return remembered(prompt, n, len(prompt)+n) }

// remembered is continuation of a model with so much memory.
func remembered(prompt []int32, n, memory int) []int32 {
	tokens := append([]int32(nil), prompt...)
	for range n {
		best := 0
		logits := logitsAfter(tokens[max(0, len(tokens)-memory):])[:testTokens]
		for i, l := range logits {
			if l > logits[best] {
				best = i
			}
		}
		tokens = append(tokens, int32(best))
	}
	return tokens[len(prompt):]
}

// start returns an engine with roomy limits, as changed by change, on a cache
// of the given pages.
func start(t testing.TB, pages int, change ...func(*Config)) (*Engine, *fakeModel) {
	t.Helper()
	cache, err := kvcache.New(kvcache.Config{
		Windows: []int{0}, Keys: 1, Values: 1, Bytes: int64(pages) * 8 * kvcache.PageTokens, Prefix: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &fakeModel{cache: cache}
	cfg := Config{
		Model: m, Cache: cache, Vocab: testVocab, Tokens: testTokens, Context: 4096,
		MaxRows: 64, MaxLogits: 32, MaxRunning: 16, MaxWaiting: 64,
	}
	for _, f := range change {
		f(&cfg)
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		if s := e.Stats(); s.PagesUsed != 0 || s.Running != 0 || s.Waiting != 0 {
			t.Errorf("after Close: %+v", s)
		}
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, m
}

// stepwise makes m wait for advance before every step.
func (m *fakeModel) stepwise() {
	m.entered, m.proceed = make(chan []forward.Row), make(chan error)
}

// advance ends the step at hand with err and returns the rows of the next.
func (m *fakeModel) advance(err error) []forward.Row {
	m.proceed <- err
	return <-m.entered
}

// finish reads the rest of a stream, which must end with exactly one final
// event and be closed after it.
func finish(t testing.TB, events <-chan Event) []Event {
	t.Helper()
	var all []Event
	for e := range events {
		if len(all) > 0 && all[len(all)-1].Finish != "" {
			t.Errorf("event %+v after the last", e)
		}
		all = append(all, e)
	}
	if len(all) == 0 || all[len(all)-1].Finish == "" {
		t.Fatalf("a stream of %d events has no last one", len(all))
	}
	return all
}

// complete runs a request to its end.
func complete(t testing.TB, e *Engine, r Request) []Event {
	t.Helper()
	events, err := e.Submit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return finish(t, events)
}

func last(events []Event) Event { return events[len(events)-1] }

// tokens lists the tokens of a stream.
func tokens(events []Event) []int32 {
	var out []int32
	for _, e := range events {
		if e.Token >= 0 {
			out = append(out, e.Token)
		}
	}
	return out
}

// prompt makes n tokens from a seed; poison is not among them.
func prompt(seed, n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32((seed*31 + i*7 + i*i*seed) % testTokens)
	}
	return out
}
