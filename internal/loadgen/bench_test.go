package loadgen

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// instant answers a request for n tokens at once, with events as Conclave writes them.
type instant struct{}

const instantEvent = `data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk",` +
	`"created":1764500000,"model":"fake","system_fingerprint":"fp_0123456789","choices":[{"index":0,` +
	`"delta":{"content":" token"},"logprobs":null,"finish_reason":null}]}` + "\n\n"

// ServeHTTP implements http.Handler.
func (instant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/models" {
		fmt.Fprint(w, `{"data":[{"id":"fake"}]}`)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for range benchTokens {
		fmt.Fprint(w, instantEvent)
		w.(http.Flusher).Flush()
	}
	fmt.Fprintf(w, `data: {"choices":[{"delta":{},"finish_reason":"length"}],"usage":{"completion_tokens":%d}}`+
		"\n\ndata: [DONE]\n\n", benchTokens)
}

const benchTokens = 200

// BenchmarkClient measures what a token costs that the server gives at once: the client, sockets of
// this machine, and a server in the same process that writes each token for itself. A server must
// be far from this rate for its figures to be its own.
func BenchmarkClient(b *testing.B) {
	server := httptest.NewServer(instant{})
	defer server.Close()
	for _, concurrency := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("%d at once", concurrency), func(b *testing.B) {
			cfg := Config{
				URL:  server.URL,
				Load: Load{Concurrency: concurrency, Requests: max(b.N, 1)}, Work: Work{Output: Constant(benchTokens)},
			}
			b.ReportAllocs()
			r, err := Run(b.Context(), cfg)
			if err != nil || r.Requests.Finished != b.N {
				b.Fatal(err, r.Errors)
			}
			b.ReportMetric(r.Throughput.OutputTokens, "tokens/s")
		})
	}
}

// BenchmarkEvents measures the client alone: reading, parsing and timing one event.
func BenchmarkEvents(b *testing.B) {
	stream := strings.Repeat(instantEvent, b.N)
	b.SetBytes(int64(len(instantEvent)))
	b.ReportAllocs()
	b.ResetTimer()
	e := newEvents(strings.NewReader(stream))
	var r Record
	began := time.Now()
	for range b.N {
		data, err := e.next()
		if err != nil {
			b.Fatal(err)
		}
		c, err := parseChunk(data)
		if err != nil {
			b.Fatal(err)
		}
		r.add(time.Since(began), c)
	}
	if len(r.Events) != b.N {
		b.Fatal(len(r.Events))
	}
}
