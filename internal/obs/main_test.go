package obs

import (
	"context"
	"net/http"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory keeps spans beyond its shutdown.
type memory struct{ *tracetest.InMemoryExporter }

func (memory) Shutdown(context.Context) error { return nil }

// traced returns a Tracing that samples the given part, and what ends it and
// returns its spans.
func traced(t testing.TB, sample float64) (*Tracing, func() tracetest.SpanStubs) {
	t.Helper()
	out := memory{tracetest.NewInMemoryExporter()}
	tracing, err := New(t.Context(), Config{
		Sample: sample, Service: "test", Instance: "k-1", Exporter: out,
	})
	if err != nil {
		t.Fatal(err)
	}
	end := func() tracetest.SpanStubs {
		if err := tracing.Close(); err != nil {
			t.Error(err)
		}
		return out.GetSpans()
	}
	t.Cleanup(func() { end() })
	return tracing, end
}

// start begins a request that came with a traceparent, or none.
func start(t testing.TB, tracing *Tracing, traceparent string) (context.Context, *Request) {
	t.Helper()
	header := http.Header{}
	if traceparent != "" {
		header.Set("Traceparent", traceparent)
	}
	return tracing.Start(t.Context(), header, Arrival{
		ID: "r-1", Operation: "chat", Model: "demo", Route: "/v1/chat/completions",
		Started: time.Now(),
	})
}

// attributes returns the attributes of a span as Go values.
func attributes(s *tracetest.SpanStub) map[string]any {
	out := map[string]any{}
	for _, a := range s.Attributes {
		out[string(a.Key)] = a.Value.AsInterface()
	}
	return out
}
