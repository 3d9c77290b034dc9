package obs

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver is a collector that remembers the names of spans by service.
type receiver struct {
	mu    sync.Mutex
	spans map[string][]string
	paths []string
	err   error
}

// take decodes an export request.
func (c *receiver) take(path string, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		c.err = err
		return
	}
	c.paths = append(c.paths, path)
	for _, resource := range request.ResourceSpans {
		service := ""
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				c.spans[service] = append(c.spans[service], span.Name)
			}
		}
	}
}

// ServeHTTP takes OTLP over HTTP, and over gRPC: five bytes before the message,
// and the status behind the answer.
func (c *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		in = unzipped
	}
	body, err := io.ReadAll(in)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.Header.Get("Content-Type") != "application/grpc" {
		c.take(r.URL.Path, body)
		w.Header().Set("Content-Type", "application/x-protobuf")
		return
	}
	if len(body) < 5 || int(binary.BigEndian.Uint32(body[1:5])) != len(body)-5 {
		c.err = errors.New("no gRPC message")
		return
	}
	c.take(r.URL.Path, body[5:])
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write(make([]byte, 5)) // an empty answer; the client may have gone
	w.Header().Set("Grpc-Status", "0")
}

// TestDelivery sends spans to collectors by both protocols.
func TestDelivery(t *testing.T) {
	for _, test := range []struct{ scheme, path, want string }{
		{"http", "", "/v1/traces"},
		{"http", "/", "/v1/traces"},
		{"http", "/tenant/traces", "/tenant/traces"},
		{"grpc", "", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"},
	} {
		c := &receiver{spans: map[string][]string{}}
		server := httptest.NewUnstartedServer(c)
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetHTTP1(test.scheme == "http")
		server.Config.Protocols.SetUnencryptedHTTP2(test.scheme == "grpc")
		server.Start()
		url := test.scheme + "://" + server.Listener.Addr().String() + test.path
		tracing, err := New(t.Context(), Config{Endpoint: url, Sample: 1, Service: "conclave"})
		if err != nil {
			t.Fatal(err)
		}
		_, request := start(t, tracing, "")
		var step *Step
		step.With(request, 1).End(StepFacts{})
		request.End(Outcome{Status: 200})
		if err := tracing.Close(); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		server.Close()
		got := strings.Join(c.spans["conclave"], ",")
		if c.err != nil || got != "step,chat demo" || len(c.paths) != 1 || c.paths[0] != test.want {
			t.Errorf("%s: spans %q at %v, %v; want them at %s", url, got, c.paths, c.err, test.want)
		}
		if err := tracing.Close(); err != nil {
			t.Errorf("%s: close again: %v", url, err)
		}
	}
}

// TestCollectorGone checks that failing is told once and hurts nobody.
func TestCollectorGone(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	var log bytes.Buffer
	tracing, err := New(t.Context(), Config{
		Endpoint: server.URL, Sample: 1, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, request := start(t, tracing, "")
		request.End(Outcome{Status: 200})
		if err := tracing.provider.ForceFlush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := tracing.Close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "traces cannot be delivered"); n != 1 {
		t.Errorf("told %d times, want once:\n%s", n, log.String())
	}
}

func TestConfig(t *testing.T) {
	if tracing, err := New(t.Context(), Config{Sample: 1}); tracing != nil || err != nil {
		t.Errorf("no endpoint: %v, %v; want nothing", tracing, err)
	}
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{Sample: -0.1}, "want 0 to 1"},
		{Config{Sample: 1.5}, "want 0 to 1"},
		{Config{Sample: math.NaN()}, "want 0 to 1"},
		{Config{Endpoint: "localhost:4318"}, "want http://"},
		{Config{Endpoint: "udp://localhost"}, "want http://"},
		{Config{Endpoint: "http://"}, "names no host"},
		{Config{Endpoint: "http://:4318"}, "names no host"},
		{Config{Endpoint: "http://user:hunter2@host"}, "OTEL_EXPORTER_OTLP_HEADERS"},
		{Config{Endpoint: "http://host?a=b"}, "at most a path"},
		{Config{Endpoint: "grpc://host:4317/x"}, "knows no path"},
		{Config{Endpoint: "http://user:hunter2@a b"}, "collector's URL"},
	} {
		_, err := New(t.Context(), test.cfg)
		if err == nil || !strings.Contains(err.Error(), test.want) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: error %v, want one with %q", test.cfg, err, test.want)
		}
	}
}
