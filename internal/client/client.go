package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Client is a coordinator's address, and the key to it.
type Client struct{ url, key string }

// New returns a client for the coordinator at url, such as
// http://127.0.0.1:8080. key is an API key, or "" where none is needed.
func New(url, key string) *Client { return &Client{strings.TrimRight(url, "/"), key} }

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// ChatRequest is the part of OpenAI's request that a conversation in a
// terminal needs; nil and zero fields are left to the server.
type ChatRequest struct {
	Model       string         `json:"model"`
	Messages    []Message      `json:"messages"`
	Temperature *float64       `json:"temperature,omitempty"`
	Seed        *int64         `json:"seed,omitempty"`
	MaxTokens   int            `json:"max_completion_tokens,omitempty"`
	Template    map[string]any `json:"chat_template_kwargs,omitempty"`
	Stream      bool           `json:"stream"`
}

// Delta is a piece of an answer.
type Delta struct {
	Content   string `json:"content"`
	Reasoning string `json:"reasoning_content"`
}

// Model returns the name of the model that the coordinator serves.
func (c *Client) Model(ctx context.Context) (string, error) {
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := c.Get(ctx, "/v1/models", &list); err != nil {
		return "", err
	}
	if len(list.Data) == 0 {
		return "", fmt.Errorf("ask %s for its models: it lists none", c.url)
	}
	return list.Data[0].ID, nil
}

// Get reads a JSON document from a path of the coordinator.
func (c *Client) Get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.url, err)
	}
	resp, err := c.do(req)
	if err != nil {
		return err
	}
	return read(resp, into)
}

// Post sends a JSON document to a path of the coordinator and reads the one that it answers.
func (c *Client) Post(ctx context.Context, path string, what, into any) error {
	resp, err := c.post(ctx, path, what)
	if err != nil {
		return err
	}
	return read(resp, into)
}

// post sends a JSON document to a path of the coordinator.
func (c *Client) post(ctx context.Context, path string, what any) (*http.Response, error) {
	body, err := json.Marshal(what)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.url, err)
	}
	req.Header.Set("Content-Type", "application/json")
	return c.do(req)
}

// read takes the JSON document out of an answer.
func read(resp *http.Response, into any) error {
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", resp.Request.URL, err)
	}
	return nil
}

// do sends a request and turns refusals into errors.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reach the coordinator: %w; is it running? start one with: conclave up",
			err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // the status says enough
	if why := reason(body); why != "" {
		return nil, fmt.Errorf("%s: %s", resp.Status, why)
	}
	return nil, fmt.Errorf("%s %s: %s", req.Method, req.URL, resp.Status)
}

// reason finds the message of an OpenAI-shaped error; of another answer it is
// the text, which may be empty.
func reason(body []byte) string {
	var e struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &e) == nil && e.Error.Message != "" {
		return e.Error.Message
	}
	return strings.TrimSpace(string(body))
}

// Chat streams an answer, piece by piece, to each.
func (c *Client) Chat(ctx context.Context, r ChatRequest, each func(Delta)) error {
	r.Stream = true
	resp, err := c.post(ctx, "/v1/chat/completions", r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readEvents(resp.Body, each)
}

// maxEvent bounds one server-sent event.
const maxEvent = 4 << 20

// readEvents passes on the pieces of a stream, which ends with [DONE]. Each
// event is one line, as the API writes them.
func readEvents(r io.Reader, each func(Delta)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok {
			continue // a comment or the blank line between events
		}
		if data = strings.TrimPrefix(data, " "); data == "[DONE]" {
			return nil
		}
		var event struct {
			Choices []struct {
				Delta Delta `json:"delta"`
			} `json:"choices"`
			Error *struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if event.Error != nil {
			return errors.New(event.Error.Message)
		}
		for _, choice := range event.Choices {
			each(choice.Delta)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the answer broke off: %w", err)
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	}
	return errors.New("the answer broke off: the coordinator closed the connection")
}
