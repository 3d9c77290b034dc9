package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/obs"
)

// timed gives the first event of an answer cached tokens, and the last one a
// timing.
func timed(e *fakeEngine, text string) func(engine.Request) ([]engine.Event, error) {
	return func(r engine.Request) ([]engine.Event, error) {
		events := e.say(r, text, engine.FinishStop)
		events[0].Cached = 8
		events[len(events)-1].Timing = &engine.Timing{
			Queued: 2 * time.Second, Prefill: 3 * time.Second, Decode: 4 * time.Second,
		}
		return events, nil
	}
}

func TestRequestMetrics(t *testing.T) {
	s, e := newServer(t, "")
	e.script = timed(e, "hello world")
	post(t, s, chatPath, chatBody(`"n":2,"max_tokens":9`))
	e.script = func(engine.Request) ([]engine.Event, error) { return nil, engine.ErrQueueFull }
	do(s, http.MethodPost, chatPath, chatBody(""))
	e.script = func(engine.Request) ([]engine.Event, error) {
		return []engine.Event{{Token: -1, Finish: engine.FinishError, Err: errors.New("broken")}}, nil
	}
	do(s, http.MethodPost, chatPath, chatBody(""))
	metrics := do(s, http.MethodGet, "/metrics", "").Body.String()
	for _, want := range []string{
		`conclave_request_success_total{finished_reason="stop",model_name="test"} 2`,
		`conclave_request_success_total{finished_reason="length",model_name="test"} 0`,
		`conclave_request_success_total{finished_reason="error",model_name="test"} 1`,
		`conclave_request_success_total{finished_reason="abort",model_name="test"} 0`,
		`conclave_request_queue_time_seconds_sum{model_name="test"} 4`,
		`conclave_request_prefill_time_seconds_sum{model_name="test"} 6`,
		`conclave_request_decode_time_seconds_sum{model_name="test"} 8`,
		`conclave_request_inference_time_seconds_sum{model_name="test"} 14`,
		`conclave_request_prompt_tokens_sum{model_name="test"} 40`,
		`conclave_request_generation_tokens_sum{model_name="test"} 12`,
		`conclave_request_time_per_output_token_seconds_count{model_name="test"} 2`,
		`conclave_request_params_n_sum{model_name="test"} 4`,
		`conclave_request_params_max_tokens_bucket{model_name="test",le="5"} 0`,
		`conclave_request_params_max_tokens_bucket{model_name="test",le="10"} 2`,
		`conclave_structured_output_requests_total{model_name="test"} 0`,
		`conclave_kv_cache_usage_perc{model_name="test"} 0.25`,
		`conclave_kv_cache_kept_perc{model_name="test"} 0.5`,
		`conclave_num_preemptions_total{model_name="test"} 3`,
		`conclave_prefix_cache_queries_total{model_name="test"} 40`,
		`conclave_prefix_cache_hits_total{model_name="test"} 16`,
		`conclave_spec_decode_num_draft_tokens_total{model_name="test"} 5`,
		`conclave_spec_decode_num_accepted_tokens_total{model_name="test"} 4`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
}

// TestMetricsLint holds the metrics to Prometheus' rules.
func TestMetricsLint(t *testing.T) {
	registry := prometheus.NewRegistry()
	s, _ := newServer(t, "hello", func(c *Config) { c.Registry = registry })
	post(t, s, chatPath, chatBody(""))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestRecord checks what the log says of requests that reached the engine, and
// of others.
func TestRecord(t *testing.T) {
	var log bytes.Buffer
	s, e := newServer(t, "", func(c *Config) { c.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
	e.script = timed(e, "hello world")
	for _, test := range []struct {
		body string
		want map[string]any // nil: no such key
	}{
		{chatBody(`"model":"test","n":2`), map[string]any{
			"model": "test", "choices": 2.0, "finish": "stop,stop", "cached_tokens": 8.0,
			"completion_tokens": 12.0, "reasoning_tokens": 0.0, "queue": 2e9, "prefill": 3e9,
			"decode": 4e9, "trace": nil,
		}},
		{chatBody(""), map[string]any{"model": nil, "choices": 1.0}},
		{chatBody(`"model":7`), map[string]any{"choices": nil, "queue": nil, "status": 400.0}},
	} {
		log.Reset()
		do(s, http.MethodPost, chatPath, test.body)
		var record map[string]any
		if err := json.Unmarshal(log.Bytes(), &record); err != nil {
			t.Fatal(err)
		}
		for key, want := range test.want {
			if got := record[key]; got != want {
				t.Errorf("%s: %s is %v, want %v", test.body, key, got, want)
			}
		}
	}
}

// A stop string ends a completion before the engine has said where its time
// went.
func TestTimingOfStopString(t *testing.T) {
	var log bytes.Buffer
	s, e := newServer(t, "", func(c *Config) { c.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
	e.script = func(r engine.Request) ([]engine.Event, error) {
		events := e.say(r, "hello world", engine.FinishStop)
		events[0].Timing = &engine.Timing{Queued: time.Second, Prefill: 2 * time.Second}
		return events, nil
	}
	post(t, s, chatPath, chatBody(`"stop":"w"`))
	var record struct{ Queue, Prefill, Decode float64 }
	if err := json.Unmarshal(log.Bytes(), &record); err != nil {
		t.Fatal(err)
	}
	if record.Queue != 1e9 || record.Prefill != 2e9 || record.Decode <= 0 {
		t.Errorf("timing: %+v", record)
	}
}

// kept keeps spans beyond its shutdown.
type kept struct{ *tracetest.InMemoryExporter }

func (kept) Shutdown(context.Context) error { return nil }

func TestTrace(t *testing.T) {
	out := kept{tracetest.NewInMemoryExporter()}
	tracing, err := obs.New(t.Context(), obs.Config{Sample: 0, Exporter: out})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s, e := newServer(t, "", func(c *Config) {
		c.Tracing, c.Log = tracing, slog.New(slog.NewJSONHandler(&log, nil))
	})
	e.script = timed(e, "hello world")
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, test := range []struct{ path, body, traceparent string }{
		{chatPath, chatBody(`"max_tokens":9`), "00-" + id + "-00f067aa0ba902b7-01"},
		{chatPath, chatBody(""), ""}, // not sampled
		{textPath, `{"prompt":"a"}`, "00-" + id + "-00f067aa0ba902b7-01"},
	} {
		r := httptest.NewRequest(http.MethodPost, test.path, strings.NewReader(test.body))
		r.Header.Set("Traceparent", test.traceparent)
		s.Handler().ServeHTTP(httptest.NewRecorder(), r)
		e.mu.Lock()
		traced := obs.RequestFrom(e.contexts[len(e.contexts)-1]) != nil
		e.mu.Unlock()
		if want := test.traceparent != ""; traced != want {
			t.Errorf("%s: the engine is told of a trace: %v", test.body, traced)
		}
		if strings.Contains(log.String(), `"trace":"`+id) != (test.traceparent != "") {
			t.Errorf("%s: log %s", test.body, log.String())
		}
		log.Reset()
	}
	r := httptest.NewRequest(http.MethodPost, textPath, strings.NewReader(`{"prompt":7}`))
	r.Header.Set("Traceparent", "00-"+id+"-00f067aa0ba902b7-01")
	s.Handler().ServeHTTP(httptest.NewRecorder(), r) // refused: no span
	if err := tracing.Close(); err != nil {
		t.Fatal(err)
	}
	spans := out.GetSpans()
	if len(spans) != 2 || spans[0].Name != "chat test" || spans[1].Name != "text_completion test" {
		t.Fatalf("spans: %v", spans)
	}
	got := map[string]any{}
	for _, a := range spans[0].Attributes {
		got[string(a.Key)] = a.Value.AsInterface()
	}
	for key, want := range map[string]any{
		"gen_ai.request.id": "0123", "gen_ai.request.max_tokens": int64(9),
		"gen_ai.usage.output_tokens": int64(6), "gen_ai.latency.time_in_model_decode": 4.0,
		"http.route": chatPath, "http.response.status_code": int64(200),
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if len(spans[0].Events) != 1 || spans[0].Events[0].Name != "first token" {
		t.Errorf("events: %v", spans[0].Events)
	}
}
