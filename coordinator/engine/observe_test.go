package engine

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/conclave-serve/conclave/internal/obs"
)

// kept keeps spans beyond its shutdown.
type kept struct{ *tracetest.InMemoryExporter }

func (kept) Shutdown(context.Context) error { return nil }

// traced returns a context with a sampled request, and what ends the request
// and returns its spans by name.
func traced(t *testing.T) (context.Context, func() map[string][]tracetest.SpanStub) {
	t.Helper()
	out := kept{tracetest.NewInMemoryExporter()}
	tracing, err := obs.New(t.Context(), obs.Config{Sample: 1, Exporter: out})
	if err != nil {
		t.Fatal(err)
	}
	ctx, request := tracing.Start(t.Context(), http.Header{}, obs.Arrival{
		Operation: "chat", Model: "m", Started: time.Now(),
	})
	return ctx, func() map[string][]tracetest.SpanStub {
		request.End(obs.Outcome{Status: http.StatusOK})
		if err := tracing.Close(); err != nil {
			t.Error(err)
		}
		spans := map[string][]tracetest.SpanStub{}
		for _, s := range out.GetSpans() {
			spans[s.Name] = append(spans[s.Name], s)
		}
		return spans
	}
}

// A step is told of with all of its rows, and those of the request.
func TestTraceOfSteps(t *testing.T) {
	var mu sync.Mutex
	var reports []int
	e, m := start(t, 64, func(c *Config) {
		c.MaxRows, c.MaxLogits = 8, 8
		c.OnStep = func(r StepReport) {
			mu.Lock()
			defer mu.Unlock()
			reports = append(reports, r.Rows)
		}
	})
	m.stepwise()
	ctx, end := traced(t)
	a, err := e.Submit(ctx, Request{Prompt: prompt(1, 10), MaxTokens: 2, Logprobs: -1})
	if err != nil {
		t.Fatal(err)
	}
	<-m.entered // the first eight tokens of a's prompt
	b, err := e.Submit(t.Context(), Request{Prompt: prompt(2, 4), MaxTokens: 1, Logprobs: -1})
	if err != nil {
		t.Fatal(err)
	}
	m.advance(nil) // its last two, and b's prompt
	m.advance(nil) // a's first token
	m.proceed <- nil
	finish(t, a)
	finish(t, b)
	spans := end()
	type step struct{ number, rows, own, sequences int64 }
	var got []step
	for _, s := range spans["step"] {
		facts := map[string]int64{}
		for _, a := range s.Attributes {
			facts[string(a.Key)] = a.Value.AsInt64()
		}
		got = append(got, step{facts["conclave.step"], facts["conclave.rows"],
			facts["conclave.request_rows"], facts["conclave.sequences"]})
	}
	want := []step{{1, 8, 8, 1}, {2, 6, 2, 2}, {3, 1, 1, 1}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(step{})); d != "" {
		t.Errorf("steps (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]int{8, 6, 1}, reports); d != "" {
		t.Errorf("reports (-want +got):\n%s", d)
	}
}

func TestTraceOfFailure(t *testing.T) {
	e, m := start(t, 64)
	m.stepwise()
	ctx, end := traced(t)
	events, err := e.Submit(ctx, Request{Prompt: prompt(1, 4), MaxTokens: 2, Logprobs: -1})
	if err != nil {
		t.Fatal(err)
	}
	<-m.entered
	m.proceed <- errors.New("no experts")
	finish(t, events)
	spans := end()
	if len(spans["step"]) != 1 || spans["step"][0].Status.Description != "no experts" {
		t.Errorf("steps: %v", spans["step"])
	}
}

// The first token says how long it took, since a caller may want no more.
func TestTimingOfFirstToken(t *testing.T) {
	e, _ := start(t, 64)
	events := complete(t, e, Request{Prompt: prompt(1, 4), MaxTokens: 3, Logprobs: -1})
	first, second, last := events[0].Timing, events[1].Timing, events[2].Timing
	if first == nil || second != nil || last == nil {
		t.Fatalf("timings: %v, %v, %v", first, second, last)
	}
	if first.Prefill <= 0 || first.Decode != 0 || last.Prefill != first.Prefill ||
		last.Queued != first.Queued || last.Decode <= 0 {
		t.Errorf("first token %+v, end %+v", first, last)
	}
}

// TestTraceOfPreemption lets two requests grow out of a small cache.
func TestTraceOfPreemption(t *testing.T) {
	e, _ := start(t, 4)
	ctx, end := traced(t)
	other, err := e.Submit(t.Context(), Request{Prompt: prompt(1, 3), MaxTokens: 100, Logprobs: -1})
	if err != nil {
		t.Fatal(err)
	}
	events, err := e.Submit(ctx, Request{Prompt: prompt(2, 3), MaxTokens: 100, Logprobs: -1})
	if err != nil {
		t.Fatal(err)
	}
	finish(t, other)
	finish(t, events)
	preempted := e.Stats().Preemptions
	if spans := end(); preempted == 0 || int64(len(spans["chat m"][0].Events)) != preempted {
		t.Errorf("%d preemptions, events %v", preempted, spans["chat m"][0].Events)
	}
}
