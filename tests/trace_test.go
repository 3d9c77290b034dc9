package tests

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/coordinator/openai"
	"github.com/conclave-serve/conclave/internal/demo"
	"github.com/conclave-serve/conclave/internal/obs"
	"github.com/conclave-serve/conclave/internal/tokenizer"
)

// keptSpans keeps spans beyond its shutdown.
type keptSpans struct{ *tracetest.InMemoryExporter }

func (keptSpans) Shutdown(context.Context) error { return nil }

// readyEngine is an engine whose experts can be reached.
type readyEngine struct{ *engine.Engine }

func (readyEngine) Ready() error { return nil }

// span is a span as this test looks at it.
type span struct {
	tracetest.SpanStub
	facts    map[string]any
	children []*span
}

// spanTree returns the only root of spans; every other one must be under it.
func spanTree(t *testing.T, spans tracetest.SpanStubs) *span {
	t.Helper()
	byID := map[string]*span{}
	for _, s := range spans {
		one := &span{SpanStub: s, facts: map[string]any{}}
		for _, a := range s.Attributes {
			one.facts[string(a.Key)] = a.Value.AsInterface()
		}
		byID[s.SpanContext.SpanID().String()] = one
	}
	var root *span
	for _, s := range byID {
		parent := byID[s.Parent.SpanID().String()]
		switch {
		case parent != nil:
			parent.children = append(parent.children, s)
			if s.StartTime.Before(parent.StartTime) {
				t.Errorf("%s begins before the %s that it is part of", s.Name, parent.Name)
			}
		case root != nil:
			t.Fatalf("two roots: %s and %s", root.Name, s.Name)
		default:
			root = s
		}
	}
	return root
}

// TestTrace follows one request of two through the API, the engine and two
// workers: the spans are a tree, and say what has happened.
func TestTrace(t *testing.T) {
	dir, err := demo.Unpack(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, dir, 2)
	tok, err := tokenizer.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	const chunk, prompt, answer = 16, 40, 5
	e, err := engine.New(engine.Config{
		Model: c.model, Cache: c.cache, Session: c.dispatcher, Vocab: c.spec.Vocab, Tokens: tok.Size(),
		Context: c.spec.MaxPositions, MaxRows: chunk, MaxLogits: chunk, MaxRunning: 4, MaxWaiting: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	out := keptSpans{tracetest.NewInMemoryExporter()}
	tracing, err := obs.New(t.Context(), obs.Config{Sample: 0, Exporter: out})
	if err != nil {
		t.Fatal(err)
	}
	api, err := openai.New(openai.Config{
		ModelName: "demo", Spec: c.spec, Tokenizer: tok, Engine: readyEngine{e}, Tracing: tracing,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, traceparent := range []string{"", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"} {
		body := `{"prompt":[` + strings.Repeat("7,", prompt-1) + `7],"max_tokens":5,"ignore_eos":true}`
		r := httptest.NewRequest(http.MethodPost, "/v1/completions", strings.NewReader(body))
		r.Header.Set("Traceparent", traceparent)
		w := httptest.NewRecorder()
		api.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	}
	if err := tracing.Close(); err != nil {
		t.Fatal(err)
	}

	request := spanTree(t, out.GetSpans())
	if request.Name != "text_completion demo" ||
		request.Parent.SpanID().String() != "00f067aa0ba902b7" {
		t.Errorf("the root is %q under %s", request.Name, request.Parent.SpanID())
	}
	const chunks = (prompt + chunk - 1) / chunk
	if n := len(request.children); n != chunks+answer-1 || request.facts["conclave.steps"] != int64(n) {
		t.Errorf("%d steps, want %d; the request says %v", n, chunks+answer-1,
			request.facts["conclave.steps"])
	}
	rows := int64(0)
	for _, step := range request.children {
		rows += step.facts["conclave.request_rows"].(int64)
		checkHops(t, c, step)
	}
	if rows != prompt+answer-1 {
		t.Errorf("%d rows in all steps, want %d", rows, prompt+answer-1)
	}
}

// checkHops holds the hops of a step to the cluster.
func checkHops(t *testing.T, c *cluster, step *span) {
	t.Helper()
	layers, workers := map[int]bool{}, map[string]bool{}
	for _, hop := range step.children {
		layers[int(hop.facts["conclave.layer"].(int64))] = true
		workers[hop.facts["conclave.worker"].(string)] = true
		if hop.EndTime.After(step.EndTime) || hop.facts["conclave.compute_seconds"].(float64) <= 0 {
			t.Errorf("a hop from %v to %v, in a step to %v: %v",
				hop.StartTime, hop.EndTime, step.EndTime, hop.facts)
		}
	}
	for l, n := range c.expertCounts() {
		if layers[l] != (n > 0) {
			t.Errorf("hops of layer %d: %v; it has %d experts", l, layers[l], n)
		}
	}
	if len(workers) != 2 || !workers["w0"] || !workers["w1"] { // some layer needs either
		t.Errorf("hops to %v, want w0 and w1", workers)
	}
	if got := step.facts["conclave.hops"]; got != int64(len(step.children)) {
		t.Errorf("%d hops, the step says %v", len(step.children), got)
	}
}
