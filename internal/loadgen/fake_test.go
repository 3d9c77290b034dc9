package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a server of the API whose answers take a time that is known exactly, inside a bubble of
// testing/synctest. Its vocabulary has short words as one token and long ones as two.
type fake struct {
	first, gap time.Duration // to the first token, between tokens
	noUsage    bool          // stream_options are ignored
	noTokenize bool
	cached     int    // tokens that every prompt finds cached
	key        string // that it asks for
	// refuse returns the body of a refusal with status 400; "" for none.
	refuse func(body map[string]any) string
	// answer stands in for the answer to a request for tokens, if it returns true.
	answer func(w http.ResponseWriter, r *http.Request, body map[string]any) bool

	mu      sync.Mutex
	bodies  []map[string]any // of requests for more than one token
	arrived []time.Time
	running int
	most    int
}

// around is how many tokens stand around every prompt.
const around = 7

func fakeTokens(text string) int {
	n := 0
	for _, w := range strings.Fields(text) {
		n++
		if len(w) > 5 {
			n++
		}
	}
	return n
}

// ServeHTTP implements http.Handler.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.key != "" && r.Header.Get("Authorization") != "Bearer "+f.key {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":{"message":"Incorrect API key provided."}}`)
		return
	}
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body) // a GET has none
	switch {
	case r.URL.Path == "/v1/models":
		fmt.Fprint(w, `{"object":"list","data":[{"id":"fake"},{"id":"other"}]}`)
	case r.URL.Path == "/tokenize" && !f.noTokenize:
		fmt.Fprintf(w, `{"count":%d}`, fakeTokens(body["prompt"].(string)))
	case strings.HasSuffix(r.URL.Path, "completions"):
		f.complete(w, r, body)
	default:
		http.NotFound(w, r)
	}
}

func (f *fake) complete(w http.ResponseWriter, r *http.Request, body map[string]any) {
	if body["model"] != "fake" {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"error":{"message":"no model %v"}}`, body["model"])
		return
	}
	if f.refuse != nil {
		if says := f.refuse(body); says != "" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, says)
			return
		}
	}
	tokens := int(body["max_tokens"].(float64))
	if tokens > 1 {
		f.begin(body)
		defer f.end()
		if f.answer != nil && f.answer(w, r, body) {
			return
		}
	}
	f.stream(r.Context(), w, body, tokens)
}

func (f *fake) begin(body map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bodies, f.arrived = append(f.bodies, body), append(f.arrived, time.Now())
	f.running++
	f.most = max(f.most, f.running)
}

func (f *fake) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
}

// stream writes an answer: a chunk with the role, one for each token, of which every other is
// reasoning, one with the reason of the end, one with usage.
func (f *fake) stream(ctx context.Context, w http.ResponseWriter, body map[string]any, tokens int) {
	w.Header().Set("Content-Type", "text/event-stream")
	send(w, `{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}`)
	wait := f.first
	for i := range tokens {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = f.gap
		if body["prompt"] != nil {
			send(w, `{"choices":[{"text":" so"}]}`)
		} else {
			field := []string{"content", "reasoning_content"}[i%2]
			send(w, fmt.Sprintf(`{"choices":[{"delta":{%q:" so"}}]}`, field))
		}
	}
	send(w, `{"choices":[{"delta":{},"finish_reason":"length"}]}`)
	if body["stream_options"] != nil && !f.noUsage {
		send(w, fmt.Sprintf(`{"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d,`+
			`"prompt_tokens_details":{"cached_tokens":%d}}}`, around+fakeTokens(promptOf(body)), tokens, f.cached))
	}
	send(w, "[DONE]")
}

func send(w http.ResponseWriter, data string) {
	fmt.Fprintf(w, "data: %s\n\n", data)
	w.(http.Flusher).Flush()
}

// promptOf returns the text of a request, of either endpoint.
func promptOf(body map[string]any) string {
	if text, ok := body["prompt"].(string); ok {
		return text
	}
	var texts []string
	for _, m := range body["messages"].([]any) {
		texts = append(texts, m.(map[string]any)["content"].(string))
	}
	return strings.Join(texts, "\n")
}

// pipes is a network inside a bubble: a listener, and a transport that reaches it.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// serve runs a server until the test ends and returns a transport to it.
func serve(t testing.TB, h http.Handler) *http.Transport {
	t.Helper()
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(p); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	}()
	transport := newTransport()
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		client, server := net.Pipe()
		select {
		case p.conns <- server:
			return client, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	t.Cleanup(func() {
		close(p.closed)
		<-done
		_ = server.Close() // what it still serves
		transport.CloseIdleConnections()
	})
	return transport
}

// run runs a load on a fake.
func (f *fake) run(t *testing.T, cfg Config) *Report {
	t.Helper()
	cfg.URL = "http://fake"
	cfg.Transport = serve(t, f)
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}
