package openai

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator/engine"
)

// An answer that breaks off in the middle does not look like a whole one.
func TestPanicInTheMiddle(t *testing.T) {
	s, _ := newServer(t, "hi", func(c *Config) {
		c.Pages = map[string]http.Handler{"/half": http.HandlerFunc(
			func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "half of")
				_ = http.NewResponseController(w).Flush()
				panic("no more")
			})}
	})
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	response, err := server.Client().Get(server.URL + "/half")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err := io.ReadAll(response.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v: want an unexpected end", body, err)
	}
	const labels = `conclave_http_requests_total{endpoint="/half",model_name="test",status="200"} 1`
	if got := do(s, http.MethodGet, "/metrics", "").Body.String(); !strings.Contains(got, labels) {
		t.Errorf("the request was not counted:\n%s", got)
	}
}

// deadlined is a writer that remembers until when it was told to write.
type deadlined struct {
	*httptest.ResponseRecorder
	until time.Time
}

// SetWriteDeadline is what http.ResponseController looks for.
func (d *deadlined) SetWriteDeadline(until time.Time) error {
	d.until = until
	return nil
}

// A client that does not take its answer is not waited for without end.
func TestAnswersHaveADeadline(t *testing.T) {
	s, _ := newServer(t, "hi")
	for _, path := range []string{"/v1/models", "/v1/nowhere"} {
		w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
		before := time.Now()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.until.Before(before.Add(writeTimeout)) || w.until.After(time.Now().Add(2*writeTimeout)) {
			t.Errorf("%s may take until %v, asked at %v", path, w.until, before)
		}
	}
}

// Tokens of prompts that the engine refuses are not those of accepted ones.
func TestRefusedPromptsDoNotCount(t *testing.T) {
	s, e := newServer(t, "hi")
	count := func() string {
		_, rest, _ := strings.Cut(do(s, http.MethodGet, "/metrics", "").Body.String(),
			`conclave_prompt_tokens_total{model_name="test"} `)
		number, _, _ := strings.Cut(rest, "\n")
		return number
	}
	post(t, s, textPath, `{"prompt":["hello","hello"],"n":2}`)
	if got := count(); got != "2" {
		t.Errorf("%s tokens of two prompts with two choices each, want 2", got)
	}
	e.script = func(engine.Request) ([]engine.Event, error) { return nil, engine.ErrQueueFull }
	if w := do(s, "POST", textPath, `{"prompt":"hello"}`); w.Code != http.StatusTooManyRequests {
		t.Fatalf("status %d", w.Code)
	}
	if got := count(); got != "2" {
		t.Errorf("%s tokens after a refusal, want 2", got)
	}
}
