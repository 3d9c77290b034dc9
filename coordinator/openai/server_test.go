package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-serve/conclave/coordinator/engine"
)

func TestNewNamesEveryProblem(t *testing.T) {
	_, err := New(Config{MaxBody: -1, MaxChoices: -1, StoredResponses: -1, StoredBytes: -1,
		RequestTimeout: -1, Access: Access{Keys: []string{""}, Origins: []string{"a"}}})
	fields := []string{"ModelName", "Spec", "Tokenizer", "Engine", "MaxBody", "MaxChoices",
		"StoredResponses", "StoredBytes", "RequestTimeout", "API key 1 of 1", "CORS origin"}
	for _, want := range fields {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
	s, _ := newServer(t, "")
	cfg := s.cfg
	if _, err := New(cfg); err == nil {
		t.Error("two servers share a registry's names")
	}
	spec := *cfg.Spec
	spec.Vocab = 200
	cfg.Spec, cfg.Registry = &spec, nil
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "269 ids") {
		t.Errorf("a tokenizer larger than the model: %v", err)
	}
}

func TestSmallEndpoints(t *testing.T) {
	s, _ := newServer(t, "")
	card := `{"id":"test","object":"model","created":1700000000,"owned_by":"conclave",` +
		`"max_model_len":200}`
	for path, want := range map[string]string{
		"/v1/models":      `{"object":"list","data":[` + card + `]}`,
		"/v1/models/test": card,
		"/healthz":        `{"status":"ok"}`,
		"/health":         `{"status":"ok"}`,
		"/ping":           `{"status":"ok"}`,
		"/version":        `{"version":"v1"}`,
		"/readyz":         `{"status":"ready"}`,
	} {
		w := do(s, http.MethodGet, path, "")
		if w.Code != 200 || w.Body.String() != want+"\n" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestRequestID(t *testing.T) {
	s, e := newServer(t, "hello")
	for sent, want := range map[string]string{
		"abc-1": "abc-1", "": "0123", "with space": "0123", strings.Repeat("x", 129): "0123",
	} {
		r := httptest.NewRequest(http.MethodPost, chatPath, strings.NewReader(chatBody("")))
		r.Header.Set("X-Request-Id", sent)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if got := w.Header().Get("X-Request-Id"); got != want || e.last(t).ID != want+"-0" {
			t.Errorf("sent %q: got %q, the engine %q", sent, got, e.last(t).ID)
		}
	}
}

func TestLogAndMetrics(t *testing.T) {
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	s, _ := newServer(t, "hello world", func(c *Config) {
		c.Log = slog.New(slog.NewJSONHandler(&log, nil))
		c.Registry = registry
	})
	post(t, s, chatPath, chatBody(""))
	do(s, http.MethodPost, chatPath, "{")
	do(s, http.MethodGet, "/healthz", "")

	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d records, want two requests and no probe: %s", len(lines), log.String())
	}
	var record map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &record); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"msg": "request", "req": "0123", "method": "POST", "path": chatPath, "status": 200.0,
		"prompt_tokens": 20.0, "completion_tokens": 6.0,
	} {
		if record[key] != want {
			t.Errorf("%s = %v, want %v", key, record[key], want)
		}
	}
	if record["ttft"].(float64) <= 0 || record["duration"].(float64) < record["ttft"].(float64) {
		t.Errorf("ttft %v, duration %v", record["ttft"], record["duration"])
	}

	metrics := do(s, http.MethodGet, "/metrics", "").Body.String()
	for _, want := range []string{
		`conclave_http_requests_total{endpoint="/v1/chat/completions",model_name="test",status="200"} 1`,
		`conclave_http_requests_total{endpoint="/v1/chat/completions",model_name="test",status="400"} 1`,
		`conclave_request_success_total{finished_reason="stop",model_name="test"} 1`,
		`conclave_prompt_tokens_total{model_name="test"} 20`,
		`conclave_generation_tokens_total{model_name="test"} 6`,
		`conclave_time_to_first_token_seconds_count{model_name="test"} 1`,
		`conclave_inter_token_latency_seconds_count{model_name="test"} 5`,
		`conclave_e2e_request_latency_seconds_count{model_name="test"} 1`,
		`conclave_num_requests_running{model_name="test"} 2`,
		`conclave_num_requests_waiting{model_name="test"} 1`,
		`conclave_kv_cache_usage_perc{model_name="test"} 0.25`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
}

// TestDisconnect drops the connection after the first event and waits for the
// engine's context to end.
func TestDisconnect(t *testing.T) {
	for _, stream := range []bool{true, false} {
		s, e := newServer(t, "")
		e.hold = true
		submitted := make(chan context.Context, 1)
		e.script = func(r engine.Request) ([]engine.Event, error) {
			submitted <- e.contexts[len(e.contexts)-1]
			return e.say(r, "hello", ""), nil
		}
		server := httptest.NewServer(s.Handler())
		ctx, cancel := context.WithCancel(context.Background())
		body := chatBody(fmt.Sprintf(`"stream":%v`, stream))
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+chatPath,
			strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			response, err := server.Client().Do(request)
			if err != nil {
				return
			}
			defer func() { _ = response.Body.Close() }()
			_, _ = io.Copy(io.Discard, response.Body)
		}()
		work := <-submitted
		cancel()
		<-work.Done() // the test binary's time limit is the failure
		<-gone
		server.Close()
	}
}

// TestStreamArrivesInPieces reads the first event while the engine still works.
func TestStreamArrivesInPieces(t *testing.T) {
	s, e := newServer(t, "")
	e.hold = true
	e.script = func(r engine.Request) ([]engine.Event, error) { return e.say(r, "hello", ""), nil }
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	response, err := server.Client().Post(server.URL+chatPath, "application/json",
		strings.NewReader(chatBody(`"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	first := make([]byte, 6)
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "data: " {
		t.Errorf("first bytes %q (%v)", first, err)
	}
}

func TestRefusedChoiceStopsTheOthers(t *testing.T) {
	s, e := newServer(t, "")
	e.hold = true
	e.script = func(r engine.Request) ([]engine.Event, error) {
		if r.ID == "0123-2" {
			return nil, engine.ErrQueueFull
		}
		return nil, nil
	}
	if w := do(s, http.MethodPost, chatPath, chatBody(`"n":4`)); w.Code != 429 {
		t.Errorf("status %d", w.Code)
	}
	if len(e.contexts) != 3 {
		t.Errorf("%d choices were submitted", len(e.contexts))
	}
	for i, ctx := range e.contexts {
		if ctx.Err() == nil {
			t.Errorf("choice %d still runs", i)
		}
	}
}

// A client that announces a body and does not send it is told so and cut off.
func TestSlowBody(t *testing.T) {
	s, _ := newServer(t, "hi", func(c *Config) { c.BodyTimeout = 50 * time.Millisecond })
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", textPath)
	got, err := io.ReadAll(conn) // until the server closes
	if err != nil {
		t.Fatal(err)
	}
	if text := string(got); !strings.HasPrefix(text, "HTTP/1.1 408 ") ||
		!strings.Contains(text, `"code":"request_timeout"`) {
		t.Errorf("a body that never came got\n%s", text)
	}
}

// What a body's deadline leaves behind must not end a long answer.
func TestBodyTimeoutDoesNotBoundAnswers(t *testing.T) {
	s, _ := newServer(t, "hi", func(c *Config) { c.BodyTimeout = 50 * time.Millisecond })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.readBody(w, r); err != nil {
			t.Error(err)
		}
		select {
		case <-r.Context().Done():
			t.Error("the request ended with its body's deadline")
		case <-time.After(200 * time.Millisecond):
		}
	}))
	defer server.Close()
	resp, err := http.Post(server.URL, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}

func TestPanicIsAnError(t *testing.T) {
	s, e := newServer(t, "")
	e.script = func(engine.Request) ([]engine.Event, error) { panic("bug") }
	w := do(s, http.MethodPost, chatPath, chatBody(""))
	if got := decodeError(t, w); w.Code != 500 || got.Message != "internal error" {
		t.Errorf("status %d, %+v", w.Code, got)
	}
}

func TestConcurrentRequests(t *testing.T) {
	s, e := newServer(t, "")
	e.script = func(r engine.Request) ([]engine.Event, error) {
		return e.say(r, fmt.Sprintf("hello %d", r.Sampling.Seed), engine.FinishStop), nil
	}
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	var clients sync.WaitGroup
	for seed := range 24 {
		clients.Go(func() {
			body := chatBody(fmt.Sprintf(`"seed":%d,"stream":%v`, seed*100, seed%2 == 0))
			response, err := server.Client().Post(server.URL+chatPath, "application/json",
				strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			content, _, finish := answer(t, readAll(t, response))
			if content != fmt.Sprintf("hello %d", seed*100) || finish != "stop" {
				t.Errorf("seed %d: %q, %q", seed, content, finish)
			}
		})
	}
	clients.Wait()
}
