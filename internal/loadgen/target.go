package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// target is the server that is measured.
type target struct {
	cfg    *Config
	client *http.Client
	root   string // address without /v1
	model  string
	takes  optional
}

// maxAnswer bounds an answer that is no stream: a list of models, the ids of a text, an error.
const maxAnswer = 32 << 20

// Times of a connection, and of the questions before the load.
const (
	connectTimeout = 10 * time.Second
	askTimeout     = 30 * time.Second
)

func newTarget(cfg *Config) *target {
	transport := cfg.Transport
	if transport == nil {
		transport = newTransport()
	}
	root := strings.TrimSuffix(strings.TrimRight(cfg.URL, "/"), "/v1")
	return &target{
		cfg: cfg, root: root, model: cfg.Model, takes: optional{usage: true, minTokens: true},
		client: &http.Client{
			Transport: transport,
			CheckRedirect: func(r *http.Request, _ []*http.Request) error {
				return fmt.Errorf("the server redirects to %s; give that address", r.URL)
			},
		},
	}
}

// newTransport returns one whose connections are all kept: to open one anew takes time that is not
// the server's. It does not decompress, which would hold events back.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout}
	return &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: connectTimeout,
		MaxIdleConns: maxInFlight, MaxIdleConnsPerHost: maxInFlight,
		IdleConnTimeout: time.Minute, DisableCompression: true,
		ReadBufferSize: 16 << 10,
	}
}

// close gives the connections back.
func (t *target) close() { t.client.CloseIdleConnections() }

// refusal is an answer whose status is not 200.
type refusal struct {
	status  int
	message string
	param   string // the field that is to blame, if the server names one
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
	if r.message != "" {
		text += ": " + r.message
	}
	return text
}

// do sends a request to a path and returns an answer with status 200.
func (t *target) do(
	ctx context.Context, method, path string, body []byte,
) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, t.root+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if t.cfg.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+t.cfg.APIKey)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // the status says enough
	r := &refusal{status: resp.StatusCode}
	r.message, r.param = reason(text)
	return nil, r
}

// reason finds what an error says, in the forms that servers give it, and the field that it names.
// Other answers are taken as they are.
func reason(body []byte) (message, param string) {
	var e struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &e) == nil {
		if message, param = reasonOf(e.Error); message != "" {
			return message, param
		}
		if e.Message != "" {
			return shorten(e.Message), ""
		}
		if e.Detail != nil {
			return shorten(string(e.Detail)), ""
		}
	}
	return shorten(strings.TrimSpace(string(body))), ""
}

// reasonOf reads the error of an OpenAI-shaped answer: an object, with some servers a text.
func reasonOf(raw json.RawMessage) (message, param string) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return shorten(text), ""
	}
	var e struct {
		Message string
		Param   any
	}
	_ = json.Unmarshal(raw, &e) // what cannot be read stays empty
	param, _ = e.Param.(string)
	return shorten(e.Message), param
}

// shorten keeps what a person would read of a message.
func shorten(text string) string {
	const most = 300
	text = strings.ToValidUTF8(text, "\ufffd")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// ask exchanges JSON with a path of the server.
func (t *target) ask(ctx context.Context, method, path string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var body []byte
	if question != nil {
		var err error
		if body, err = json.Marshal(question); err != nil {
			return err
		}
	}
	resp, err := t.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(answer)
}

// models lists the server's models.
func (t *target) models(ctx context.Context) ([]string, error) {
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := t.ask(ctx, http.MethodGet, "/v1/models", nil, &list); err != nil {
		return nil, err
	}
	var ids []string
	for _, m := range list.Data {
		ids = append(ids, m.ID)
	}
	return ids, nil
}

// errNoTokenizer is of a server without /tokenize.
var errNoTokenizer = errors.New("the server has no /tokenize")

// countTokens asks how many tokens a text is, without those that stand around every prompt. It
// speaks to Conclave, vLLM (prompt, count) and llama.cpp (content, tokens) alike.
func (t *target) countTokens(ctx context.Context, text string) (int, error) {
	var answer struct {
		Count  *int              `json:"count"`
		Tokens []json.RawMessage `json:"tokens"`
	}
	err := t.ask(ctx, http.MethodPost, "/tokenize", map[string]any{
		"model": t.model, "prompt": text, "add_special_tokens": false,
		"content": text, "add_special": false,
	}, &answer)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errNoTokenizer, err)
	case answer.Count != nil:
		return *answer.Count, nil
	case answer.Tokens != nil:
		return len(answer.Tokens), nil
	}
	return 0, errNoTokenizer
}
