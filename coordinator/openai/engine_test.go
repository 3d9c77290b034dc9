package openai

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/engine"
	modelrow "github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/coordinator/kvcache"
)

// toyModel is a model whose logits depend on the token and its position alone:
// enough for an engine to have something to sample from.
type toyModel struct {
	vocab  int
	logits []float32
}

// Step implements engine.Model.
func (m *toyModel) Step(_ context.Context, rows []modelrow.Row, _ int) ([]float32, error) {
	m.logits = m.logits[:0]
	for _, r := range rows {
		if !r.Logits {
			continue
		}
		h := (uint64(r.Token)+1)*0x9e3779b97f4a7c15 ^ (uint64(r.Pos)+1)*0xbf58476d1ce4e5b9
		for id := range uint64(m.vocab) {
			z := (h ^ (id+1)*0x94d049bb133111eb) * 0xff51afd7ed558ccd
			m.logits = append(m.logits, float32(z>>40)/(1<<22))
		}
		end := m.logits[len(m.logits)-m.vocab:]
		end[idEnd] += 4 // so that answers end
	}
	return m.logits, nil
}

// toyEngine is a real engine over a toyModel.
type toyEngine struct{ *engine.Engine }

// Ready implements Engine.
func (toyEngine) Ready() error { return nil }

// newToyServer returns a Server over a real engine.
func newToyServer(t testing.TB) (*Server, *engine.Engine) { return newToyServerOf(t, 200) }

// newToyServerOf is newToyServer with sequences of up to so many tokens.
func newToyServerOf(t testing.TB, context int) (*Server, *engine.Engine) {
	t.Helper()
	const vocab, pages = 300, 64
	cache, err := kvcache.New(kvcache.Config{
		Windows: []int{0}, Keys: 1, Values: 1, Bytes: pages * 8 * kvcache.PageTokens, Prefix: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(engine.Config{
		Model: &toyModel{vocab: vocab}, Cache: cache, Vocab: vocab, Tokens: tokens, Context: context,
		MaxRows: 64, MaxLogits: 32, MaxRunning: 16, MaxWaiting: 256,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	})
	s, _ := newServer(t, "", func(c *Config) { c.Engine, c.MaxBody = toyEngine{e}, 1<<20 })
	return s, e
}

// The same seed gives the same text, whatever else is in the batch, and every
// one of several choices the text that its own seed gives alone.
func TestSeedsAmongNeighbours(t *testing.T) {
	s, _ := newToyServer(t)
	body := func(seed, n int) string {
		return fmt.Sprintf(`{"prompt":"hello","seed":%d,"n":%d,"max_tokens":40,"ignore_eos":true,`+
			`"repetition_penalty":1.1,"top_p":0.95,"typical_p":0.9}`, seed, n)
	}
	ask := func(body string) []string {
		var texts []string
		for _, c := range decodeChoices(t, post(t, s, textPath, body)) {
			texts = append(texts, c.Text)
		}
		return texts
	}
	const count = 6
	var alone []string
	for seed := range count {
		alone = append(alone, ask(body(seed, 1))...)
	}
	for i, text := range alone[1:] {
		if text == alone[i] {
			t.Errorf("seeds %d and %d give the same text %q", i, i+1, text)
		}
	}
	if got := ask(body(0, count)); strings.Join(got, "|") != strings.Join(alone, "|") {
		t.Errorf("%d choices %q, want %q", count, got, alone)
	}
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	var clients sync.WaitGroup
	for i := range 24 {
		clients.Go(func() {
			seed := i % count
			response, err := server.Client().Post(server.URL+textPath, "application/json",
				strings.NewReader(body(seed, 1)))
			if err != nil {
				t.Error(err)
				return
			}
			if got := decodeChoices(t, readAll(t, response))[0].Text; got != alone[seed] {
				t.Errorf("seed %d among others: %q, want %q", seed, got, alone[seed])
			}
		})
	}
	clients.Wait()
}

// Where a request forbids all that it allows, it is the request that is wrong.
func TestNothingAllowed(t *testing.T) {
	s, _ := newToyServer(t)
	for _, extra := range []string{
		`"allowed_token_ids":[259],"bad_words":["hello"]`, `"allowed_token_ids":[264],"min_tokens":2`,
	} {
		w := do(s, "POST", textPath, `{"prompt":"a",`+extra+`}`)
		if got := decodeError(t, w); w.Code != 400 || got.Code != "no_token_allowed" {
			t.Errorf("%s: %d %+v", extra, w.Code, got)
		}
	}
	got, _, _ := answer(t, post(t, s, textPath,
		`{"prompt":"a","allowed_token_ids":[259,97],"bad_words":["aa"],"max_tokens":9,"seed":3}`))
	if rest := strings.NewReplacer("hello", "", "a", "").Replace(got); rest != "" || got == "" ||
		strings.Contains(got, "aa") {
		t.Errorf("answer %q", got)
	}
}
