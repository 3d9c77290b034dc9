//go:build linux

package tests

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator"
	"github.com/conclave-serve/conclave/internal/demo"
)

// api is a coordinator's HTTP API, seen by a client that knows only HTTP.
type api struct{ url string }

// httpClient waits long, not for ever, and shares no connection: one that a
// dead server leaves behind must not break the next request.
var httpClient = &http.Client{Timeout: 2 * patience, Transport: &http.Transport{DisableKeepAlives: true}}

func (a api) do(ctx context.Context, method, path, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return httpClient.Do(req)
}

// send sends a request and reads the whole answer.
func (a api) send(ctx context.Context, method, path, body string) (status int, answer string, err error) {
	resp, err := a.do(ctx, method, path, body)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

// post requires an answer with status 200.
func (a api) post(t *testing.T, path, body string) string {
	t.Helper()
	status, answer, err := a.send(t.Context(), http.MethodPost, path, body)
	if err != nil || status != http.StatusOK {
		t.Fatalf("POST %s %s: status %d, %v: %s", path, body, status, err, answer)
	}
	return answer
}

// post requires an answer with status 200 and reads it into an M.
func post[M any](t *testing.T, a api, path, body string) M {
	t.Helper()
	var m M
	answer := a.post(t, path, body)
	if err := json.Unmarshal([]byte(answer), &m); err != nil {
		t.Fatalf("POST %s: %v in %s", path, err, answer)
	}
	return m
}

// status returns what the coordinator says of the cluster, false if it does
// not answer.
func (a api) status(t *testing.T) (s coordinator.Status, ok bool) {
	t.Helper()
	code, body, err := a.send(t.Context(), http.MethodGet, coordinator.StatusPath, "")
	if err != nil || code != http.StatusOK {
		return s, false
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatalf("status: %v in %s", err, body)
	}
	return s, true
}

// awaitStatus waits until the cluster is as wanted.
func (a api) awaitStatus(t *testing.T, what string, is func(coordinator.Status) bool) {
	t.Helper()
	until(t, what, func() (bool, string) {
		s, ok := a.status(t)
		return ok && is(s), fmt.Sprintf("status %+v", s)
	})
}

// variable is what differs between two answers to the same request.
var variable = regexp.MustCompile(`"(id|created)":("[^"]*"|[0-9]+)`)

func scrub(body string) string { return variable.ReplaceAllString(body, `"$1":0`) }

// chatBody is a greedy chat request; more adds fields.
func chatBody(question, more string) string {
	return fmt.Sprintf(`{"model":%q,"temperature":0,"messages":[{"role":"user","content":%q}]%s}`,
		demo.Name, question, more)
}

// textBody is a greedy completions request; prompt is JSON.
func textBody(prompt, more string) string {
	return fmt.Sprintf(`{"model":%q,"temperature":0,"prompt":%s%s}`, demo.Name, prompt, more)
}

// event is the part of a stream's chunks that the tests read, of both
// endpoints.
type event struct {
	Choices []struct {
		Text  string
		Delta struct {
			Content   string
			Reasoning string `json:"reasoning_content"`
		}
		FinishReason string `json:"finish_reason"`
	}
	Usage *usage
	Error *struct{ Message string }
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

// readStream reads the events of a stream to its end, which must be [DONE].
func readStream(r io.Reader, each func(event)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case lines.Text() == "":
		case !ok:
			return fmt.Errorf("line %q is no event", lines.Text())
		case data == "[DONE]":
			return nil
		default:
			var e event
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				return fmt.Errorf("event %s: %w", data, err)
			}
			if e.Error != nil {
				return &refusal{http.StatusOK, e.Error.Message}
			}
			each(e)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errors.New("the stream broke off")
}

// refusal is an error that the server put into words, in a stream or instead
// of one.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return fmt.Sprintf("status %d: %s", r.status, r.message) }

// stream sends a request for a stream and returns its text.
func (a api) stream(ctx context.Context, path, body string) (string, error) {
	resp, err := a.do(ctx, http.MethodPost, path, body)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var e event
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.Error == nil {
			return "", fmt.Errorf("status %d without an OpenAI error", resp.StatusCode)
		}
		return "", &refusal{resp.StatusCode, e.Error.Message}
	}
	var text strings.Builder
	err = readStream(resp.Body, func(e event) {
		for _, c := range e.Choices {
			text.WriteString(c.Text + c.Delta.Reasoning + c.Delta.Content)
		}
	})
	return text.String(), err
}

// load is a number of clients that ask for the same streams over and over and
// compare each with an undisturbed answer.
type load struct {
	api    api
	want   []string // by prompt
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	succeeded int
	newest    time.Time // start of the latest request that succeeded
	wrong     []string
	failures  []error
}

// loadBody asks for a stream of 120 tokens.
func loadBody(prompt int) string {
	return textBody(fmt.Sprintf(`"Story %d: once upon a time"`, prompt),
		`,"max_tokens":120,"ignore_eos":true,"stream":true`)
}

// startLoad asks each prompt once undisturbed, then all at once until stop.
func startLoad(t *testing.T, a api, clients int) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	l := &load{api: a, cancel: cancel}
	for i := range clients {
		text, err := a.stream(ctx, "/v1/completions", loadBody(i))
		if err != nil {
			t.Fatal(err)
		}
		l.want = append(l.want, text)
	}
	for i := range clients {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				l.ask(ctx, i)
			}
		})
	}
	return l
}

// pauseAfterFailure keeps clients from spinning while nobody listens.
const pauseAfterFailure = 20 * time.Millisecond

func (l *load) ask(ctx context.Context, prompt int) {
	started := time.Now()
	text, err := l.api.stream(ctx, "/v1/completions", loadBody(prompt))
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		select {
		case <-ctx.Done():
		case <-time.After(pauseAfterFailure):
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.failures = append(l.failures, err)
	case text != l.want[prompt]:
		l.wrong = append(l.wrong, text)
	default:
		l.succeeded++
		if started.After(l.newest) {
			l.newest = started
		}
	}
}

// awaitSuccess waits for the success of requests that began after now.
func (l *load) awaitSuccess(t *testing.T) {
	t.Helper()
	after := time.Now()
	until(t, "requests to succeed", func() (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		last := error(nil)
		if n := len(l.failures); n > 0 {
			last = l.failures[n-1]
		}
		return l.newest.After(after),
			fmt.Sprintf("%d succeeded, %d failed, the last with: %v", l.succeeded, len(l.failures), last)
	})
}

// stop ends the load and requires that no answer was wrong and each failure
// was of an allowed kind.
func (l *load) stop(t *testing.T, allowed func(error) bool) {
	t.Helper()
	l.cancel()
	l.wg.Wait()
	for i, text := range l.wrong {
		t.Errorf("answer %d differs from the undisturbed one: %q", i, text)
	}
	seen := map[string]bool{}
	for _, err := range l.failures {
		if !allowed(err) && !seen[err.Error()] {
			seen[err.Error()] = true
			t.Errorf("a request failed: %v", err)
		}
	}
	t.Logf("%d requests succeeded, %d failed", l.succeeded, len(l.failures))
}

// never is for loads of which no request may fail.
func never(error) bool { return false }

// namesExperts says whether the server told the client that experts or a
// worker were out of reach.
func namesExperts(err error) bool {
	var r *refusal
	return errors.As(err, &r) && (r.status == http.StatusServiceUnavailable || r.status == http.StatusOK) &&
		(strings.Contains(r.message, "experts") || strings.Contains(r.message, "worker"))
}

// brokenConnection says whether the server was gone; what it said is none of
// it.
func brokenConnection(err error) bool {
	var r *refusal
	return !errors.As(err, &r)
}

func mustContain(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q:\n%s", what, part, text)
		}
	}
}

// isLoading says whether the server told the client that it is loading.
func isLoading(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == http.StatusServiceUnavailable && strings.Contains(r.message, "loading")
}
