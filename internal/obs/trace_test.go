package obs

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// TestTree traces a request through a step with two hops.
func TestTree(t *testing.T) {
	tracing, end := traced(t, 1)
	ctx, request := start(t, tracing, "")
	if RequestFrom(ctx) != request || request == nil {
		t.Fatal("the context does not carry the request")
	}
	request.Params(Params{Stream: true, Choices: 2, MaxTokens: 7, Temperature: 0.5, TopP: 1})
	sent := time.Now()
	var step *Step
	step = step.With(nil, 9).With(request, 3).With(request, 1)
	ctx = WithStep(ctx, step)
	StepFrom(ctx).Hop(Hop{Layer: 3, Micro: 1, Worker: "w-1", Rows: 4, Started: sent, Took: 4 * time.Second,
		Queue: time.Second, Compute: 2 * time.Second})
	StepFrom(ctx).Hop(Hop{Layer: 3, Worker: "w-2", Started: sent, Took: time.Second,
		Err: errors.New("gone")})
	step.End(StepFacts{Number: 12, Rows: 13, Sequences: 3})
	request.Event("first token")
	request.End(Outcome{Status: 200, Finish: []string{"stop", "length"}, PromptTokens: 3,
		CachedTokens: 2, CompletionTokens: 5, ReasoningTokens: 1, FirstToken: time.Second,
		Queued: 2 * time.Second})

	spans := byName(t, end(), "chat demo", "step", "hop", "hop")
	top, inner, hops := spans["chat demo"][0], spans["step"][0], spans["hop"]
	want := map[string]any{
		"gen_ai.request.id": "r-1", "gen_ai.operation.name": "chat",
		"gen_ai.provider.name": "conclave", "gen_ai.request.model": "demo",
		"http.route": "/v1/chat/completions", "gen_ai.request.stream": true,
		"gen_ai.request.max_tokens": int64(7), "gen_ai.request.temperature": 0.5,
		"gen_ai.request.top_p": 1.0, "gen_ai.request.choice.count": int64(2),
		"http.response.status_code": int64(200), "gen_ai.usage.input_tokens": int64(3),
		"gen_ai.usage.cache_read.input_tokens": int64(2), "gen_ai.usage.output_tokens": int64(5),
		"gen_ai.usage.reasoning.output_tokens": int64(1),
		"gen_ai.response.finish_reasons":       []string{"stop", "length"},
		"gen_ai.latency.time_to_first_token":   1.0, "gen_ai.latency.time_in_queue": 2.0,
		"conclave.steps": int64(1), "conclave.hops": int64(2),
	}
	got := attributes(top)
	if e2e, _ := got["gen_ai.latency.e2e"].(float64); e2e <= 0 {
		t.Errorf("gen_ai.latency.e2e is %v", got["gen_ai.latency.e2e"])
	}
	delete(got, "gen_ai.latency.e2e")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
	if len(top.Events) != 1 || top.Events[0].Name != "first token" {
		t.Errorf("events of the request: %v", top.Events)
	}
	want = map[string]any{
		"conclave.step": int64(12), "conclave.rows": int64(13), "conclave.sequences": int64(3),
		"conclave.hops": int64(2), "conclave.hops_failed": int64(1),
		"conclave.network_seconds": 2.0, "conclave.queue_seconds": 1.0,
		"conclave.compute_seconds": 2.0, "conclave.request_rows": int64(4),
	}
	if d := cmp.Diff(want, attributes(inner)); d != "" {
		t.Errorf("step (-want +got):\n%s", d)
	}
	want = map[string]any{
		"conclave.layer": int64(3), "conclave.micro_batch": int64(1), "conclave.worker": "w-1", "conclave.rows": int64(4),
		"conclave.network_seconds": 1.0, "conclave.queue_seconds": 1.0,
		"conclave.compute_seconds": 2.0,
	}
	if d := cmp.Diff(want, attributes(hops[0])); d != "" {
		t.Errorf("hop (-want +got):\n%s", d)
	}
	if took := hops[0].EndTime.Sub(hops[0].StartTime); took != 4*time.Second {
		t.Errorf("the hop took %v, want 4s", took)
	}
	if hops[1].Status.Code != codes.Error || hops[0].Status.Code != codes.Unset {
		t.Errorf("status of the hops: %v, %v", hops[0].Status, hops[1].Status)
	}
	if inner.Parent.SpanID() != top.SpanContext.SpanID() ||
		hops[0].Parent.SpanID() != inner.SpanContext.SpanID() {
		t.Error("the spans are no tree")
	}
	if name, _ := top.Resource.Set().Value("service.name"); name.AsString() != "test" {
		t.Errorf("service.name is %q", name.AsString())
	}
}

// byName sorts spans by their names and holds these to want.
func byName(t *testing.T, spans tracetest.SpanStubs, want ...string) map[string][]*tracetest.SpanStub {
	t.Helper()
	out, count := map[string][]*tracetest.SpanStub{}, map[string]int{}
	for i := range spans {
		out[spans[i].Name] = append(out[spans[i].Name], &spans[i])
		count[spans[i].Name]++
	}
	expected := map[string]int{}
	for _, name := range want {
		expected[name]++
	}
	if d := cmp.Diff(expected, count); d != "" {
		t.Fatalf("spans by name (-want +got):\n%s", d)
	}
	return out
}

// TestSharedStep checks that each of two requests gets the step into its trace.
func TestSharedStep(t *testing.T) {
	tracing, end := traced(t, 1)
	_, a := start(t, tracing, "")
	_, b := start(t, tracing, "")
	var step *Step
	step = step.With(a, 1).With(b, 2)
	step.Hop(Hop{Layer: 1, Worker: "w"})
	step.End(StepFacts{Err: errors.New("no experts")})
	a.End(Outcome{Status: 503, Err: errors.New("no experts")})
	b.End(Outcome{Status: 499, Err: context.Canceled})
	spans := byName(t, end(), "chat demo", "chat demo", "step", "step", "hop", "hop")
	traces := map[string]int{}
	for _, list := range spans {
		for _, s := range list {
			traces[s.SpanContext.TraceID().String()]++
		}
	}
	if len(traces) != 2 || traces[a.TraceID()] != 3 || traces[b.TraceID()] != 3 {
		t.Errorf("spans by trace: %v, want 3 each of %s and %s", traces, a.TraceID(), b.TraceID())
	}
	if s := spans["step"][0].Status; s.Code != codes.Error || s.Description != "no experts" {
		t.Errorf("status of a step that failed: %v", s)
	}
	for _, s := range spans["chat demo"] {
		failed := s.SpanContext.TraceID().String() == a.TraceID()
		if got := s.Status.Code == codes.Error; got != failed {
			t.Errorf("request failed: %v, want %v: only what is the server's fault", got, failed)
		}
	}
}

// TestBounds runs more steps than a trace may hold.
func TestBounds(t *testing.T) {
	tracing, end := traced(t, 1)
	_, request := start(t, tracing, "")
	for range maxSteps + 5 {
		var step *Step
		step = step.With(request, 1)
		for layer := range 8 {
			step.Hop(Hop{Layer: layer, Worker: "w"})
		}
		step.End(StepFacts{})
		if err := tracing.provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	request.End(Outcome{Status: 200})
	count := map[string]int{}
	for _, s := range end() {
		count[s.Name]++
		if s.Name == "chat demo" {
			if got := attributes(&s)["conclave.steps"]; got != int64(maxSteps+5) {
				t.Errorf("conclave.steps is %v", got)
			}
		}
	}
	if want := map[string]int{"chat demo": 1, "step": maxSteps, "hop": maxHops}; !cmp.Equal(count, want) {
		t.Errorf("spans by name: %v, want %v", count, want)
	}
}

// TestSampling lets the ratio decide, and the client before it.
func TestSampling(t *testing.T) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736" // of the W3C's recommendation
	yes, no := "00-"+trace+"-00f067aa0ba902b7-01", "00-"+trace+"-00f067aa0ba902b7-00"
	for _, test := range []struct {
		sample      float64
		traceparent string
		want        bool
		of          string // the trace
	}{
		{1, "", true, ""},
		{0, "", false, ""},
		{0, yes, true, trace},
		{1, no, false, ""},
		{1, yes, true, trace},
		{0, "00-zz-00f067aa0ba902b7-01", false, ""},
		{1, strings.Repeat("x", 1<<16), true, ""},
	} {
		tracing, end := traced(t, test.sample)
		ctx, request := start(t, tracing, test.traceparent)
		if got := request != nil; got != test.want || RequestFrom(ctx) != request {
			t.Errorf("ratio %v, traceparent %.60q: sampled %v, want %v",
				test.sample, test.traceparent, got, test.want)
		}
		request.End(Outcome{Status: 200})
		spans := end()
		if len(spans) == 1 != test.want {
			t.Errorf("ratio %v, traceparent %.60q: %d spans", test.sample, test.traceparent, len(spans))
		}
		if test.of != "" && (spans[0].SpanContext.TraceID().String() != test.of ||
			spans[0].Parent.SpanID().String() != "00f067aa0ba902b7" || request.TraceID() != test.of) {
			t.Errorf("trace %s under %s, want %s", request.TraceID(), spans[0].Parent.SpanID(), test.of)
		}
	}
}

// TestSamplingRatio checks the part that is sampled.
func TestSamplingRatio(t *testing.T) {
	tracing, _ := traced(t, 0.25)
	n := 0
	for range 4000 {
		if _, r := start(t, tracing, ""); r != nil {
			n++
			r.End(Outcome{})
		}
	}
	if n < 850 || n > 1150 { // five standard deviations of 27
		t.Errorf("%d of 4000 are sampled, want about 1000", n)
	}
}

// off is every call on the way of a request that nobody traces.
func off(ctx context.Context) {
	var tracing *Tracing
	ctx, request := tracing.Start(ctx, nil, Arrival{})
	request.Params(Params{})
	request.Event("first token")
	var step *Step
	step = step.With(RequestFrom(ctx), 1)
	ctx = WithStep(ctx, step)
	for layer := range 4 {
		StepFrom(ctx).Hop(Hop{Layer: layer})
	}
	step.End(StepFacts{})
	request.End(Outcome{})
	_ = request.TraceID()
}

func TestOffAllocatesNothing(t *testing.T) {
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { off(ctx) }); n != 0 {
		t.Errorf("a request that is not traced allocates %v times, want 0", n)
	}
}

func BenchmarkOff(b *testing.B) {
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		off(ctx)
	}
}

// BenchmarkStep is what a traced step of a large model costs the step loop: 61
// layers, 8 workers. The first steps of a trace have spans for its hops.
func BenchmarkStep(b *testing.B) {
	for name, detail := range map[string]bool{"sums": false, "hops": true} {
		b.Run(name, func(b *testing.B) {
			tracing, _ := traced(b, 1)
			b.ReportAllocs()
			for b.Loop() {
				_, request := start(b, tracing, "")
				if !detail {
					request.hops.Store(maxHops)
				}
				var step *Step
				step = step.With(request, 1)
				for layer := range 61 {
					for range 8 {
						step.Hop(Hop{Layer: layer, Worker: "worker"})
					}
				}
				step.End(StepFacts{Rows: 1, Sequences: 1})
			}
		})
	}
}
