package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { http.DefaultClient.CloseIdleConnections() }))
}

const piece = `data: {"choices":[{"delta":{"content":"%s"}}]}` + "\n\n"

func TestReadEvents(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name, stream, text string
		err                string // empty: none
	}{
		{"an answer", fmt.Sprintf(piece+piece, "4", "2") + "data: [DONE]\n\n", "42", ""},
		{"carriage returns", "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\ndata: [DONE]\r\n\r\n", "a", ""},
		{"no space after the colon", `data:{"choices":[{"delta":{"content":"a"}}]}` + "\n\ndata:[DONE]\n\n", "a", ""},
		{"comments and other fields", ": keep-alive\n\nevent: x\nid: 1\n" + fmt.Sprintf(piece, "a") + "data: [DONE]\n", "a", ""},
		{"reasoning", `data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}` + "\n\ndata: [DONE]\n\n", "(hm)", ""},
		{"usage without choices", `data: {"choices":[],"usage":{"total_tokens":3}}` + "\n\ndata: [DONE]\n\n", "", ""},
		{"two choices in an event", `data: {"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}` + "\n\ndata: [DONE]\n\n", "ab", ""},
		{"a long event", fmt.Sprintf(piece, long) + "data: [DONE]\n\n", long, ""},
		{"nothing after the end is read", "data: [DONE]\n\ndata: nonsense\n\n", "", ""},
		{"an error event", fmt.Sprintf(piece, "a") + `data: {"error":{"message":"worker w2 is lost","code":"x"}}` + "\n\n", "a", "worker w2 is lost"},
		{"broken off between events", fmt.Sprintf(piece, "a"), "a", "the answer broke off"},
		{"broken off within an event", fmt.Sprintf(piece, "a") + `data: {"choices":[{"de`, "a", "read the answer: unexpected end of JSON"},
		{"empty", "", "", "the answer broke off"},
		{"not events at all", "<html>hello</html>", "", "the answer broke off"},
		{"not JSON", "data: hello\n\n", "", "read the answer: invalid character"},
		{"an event without an end", "data: " + strings.Repeat("x", maxEvent+1), "", "read the answer: bufio.Scanner: token too long"},
	} {
		for _, reader := range []io.Reader{strings.NewReader(c.stream), iotest.HalfReader(strings.NewReader(c.stream))} {
			var text string
			err := readEvents(reader, func(d Delta) {
				text += d.Content
				if d.Reasoning != "" {
					text += "(" + d.Reasoning + ")"
				}
			})
			if text != c.text {
				t.Errorf("%s: %.100q, want %.100q", c.name, text, c.text)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%s: error %v, want %q", c.name, err, c.err)
			}
		}
	}
	broken := io.MultiReader(strings.NewReader(fmt.Sprintf(piece, "a")), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := readEvents(broken, func(Delta) {}); !errors.Is(err, io.ErrUnexpectedEOF) ||
		!strings.Contains(err.Error(), "broke off") {
		t.Errorf("a connection that breaks: %v", err)
	}
}

// serve answers every request with a status and a body.
func serve(t *testing.T, status int, body string, check func(*http.Request)) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if check != nil {
			check(r)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return New(s.URL+"/", "sk-1")
}

// Whatever is refused, the caller learns the status and the reason.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"OpenAI's shape", `{"error":{"message":"no such model","type":"x"}}`, 404, "404 Not Found: no such model"},
		{"loading", `{"error":{"message":"The model is loading."}}`, 503, "503 Service Unavailable: The model is loading."},
		{"plain text", "  go away\n", 400, "400 Bad Request: go away"},
		{"other JSON", `{"detail":"x"}`, 500, `500 Internal Server Error: {"detail":"x"}`},
		{"nothing", "", 502, "502 Bad Gateway"},
	} {
		client := serve(t, c.status, c.body, nil)
		_, asModel := client.Model(t.Context())
		asChat := client.Chat(t.Context(), ChatRequest{}, func(Delta) { t.Errorf("%s: an answer", c.name) })
		for _, err := range []error{asModel, asChat} {
			if err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		}
	}
}

func TestModel(t *testing.T) {
	for _, c := range []struct{ body, name, err string }{
		{`{"data":[{"id":"m1"},{"id":"m2"}]}`, "m1", ""},
		{`{"data":[]}`, "", "lists none"},
		{`{"data":`, "", "/v1/models: unexpected EOF"},
		{`<html>`, "", "read the answer of http://"},
	} {
		name, err := serve(t, 200, c.body, func(r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != "/v1/models" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
		}).Model(t.Context())
		if name != c.name || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q, %v", c.body, name, err)
		}
	}
}

func TestChat(t *testing.T) {
	zero := 0.0
	var got map[string]any
	client := serve(t, 200, fmt.Sprintf(piece, "hello")+"data: [DONE]\n\n", func(r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/chat/completions" || r.Header.Get("Content-Type") != "application/json" ||
			r.Header.Get("Authorization") != "Bearer sk-1" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
	})
	text := ""
	err := client.Chat(t.Context(), ChatRequest{
		Model: "m", Messages: []Message{{"user", "hi"}}, Temperature: &zero,
	}, func(d Delta) { text += d.Content })
	if err != nil || text != "hello" {
		t.Errorf("%q, %v", text, err)
	}
	want := map[string]any{
		"model": "m", "stream": true, "temperature": 0.0,
		"messages": []any{map[string]any{"role": "user", "content": "hi"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (- want, + got):\n%s", diff)
	}
}

func TestUnreachable(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	url := s.URL
	s.Close()
	if _, err := New(url, "").Model(t.Context()); err == nil || !strings.Contains(err.Error(), "is it running? start one with: conclave up") {
		t.Errorf("nobody listens: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := New(url, "").Chat(ctx, ChatRequest{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := New("http://bad host", "").Get(t.Context(), "/", nil); err == nil {
		t.Error("a URL with a space is accepted")
	}
}
