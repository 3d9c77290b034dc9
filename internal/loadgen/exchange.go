package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxEvents bounds the events of one answer: two for each token of the longest one.
const maxEvents = 2 * maxLength

// Kinds of failure besides "http" and a status.
const (
	failConnection = "connection" // none could be had, or it broke before the answer began
	failTimeout    = "timeout"
	failStream     = "stream" // it broke off, or the server reported an error in it
	failAnswer     = "answer" // it is not what the API answers
)

// Failure is why a request failed.
type Failure struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// Record is one request as it went.
type Record struct {
	Index   int
	Sent    time.Duration // since the run began
	Late    time.Duration // how long after it was due it was sent
	Gone    bool          // the run was interrupted before the answer was whole
	Failure *Failure      // nil if the answer is whole

	// Events are when pieces of the answer arrived that hold tokens, since the request was sent;
	// End is when it was whole, or failed.
	Events []time.Duration
	End    time.Duration

	PromptTokens int  // as the server counts; 0 if it does not
	CachedTokens *int // of those, found in a cache; nil if the server does not say
	OutputTokens int
	Counted      bool // by the server; else OutputTokens is the number of events
	Wanted       int  // tokens of the prompt that were aimed at; 0: a prompt from a file
	WantedOutput int
}

// chunk is the part of a stream's chunks that is read, of both endpoints.
type chunk struct {
	Choices []struct {
		Text  string `json:"text"`
		Delta struct {
			Content          string            `json:"content"`
			ReasoningContent string            `json:"reasoning_content"`
			Reasoning        string            `json:"reasoning"`
			Refusal          string            `json:"refusal"`
			ToolCalls        []json.RawMessage `json:"tool_calls"`
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *usage          `json:"usage"`
	Error json.RawMessage `json:"error"`

	Object  string `json:"object"` // "error", with older versions of vLLM
	Message string `json:"message"`
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	Details          *struct {
		CachedTokens *int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// hasTokens says whether a chunk shows something that the model wrote.
func (c *chunk) hasTokens() bool {
	for i := range c.Choices {
		d := &c.Choices[i].Delta
		if c.Choices[i].Text != "" || d.Content != "" || d.ReasoningContent != "" ||
			d.Reasoning != "" || d.Refusal != "" || len(d.ToolCalls) > 0 {
			return true
		}
	}
	return false
}

// isFinal says whether a chunk ends a choice.
func (c *chunk) isFinal() bool {
	return len(c.Choices) > 0 && c.Choices[0].FinishReason != ""
}

// failure returns the error that a server put into its stream, or nil.
func (c *chunk) failure() error {
	if len(c.Error) > 0 && string(c.Error) != "null" {
		if message, _ := reasonOf(c.Error); message != "" {
			return errors.New(message)
		}
		return errors.New(shorten(string(c.Error)))
	}
	if c.Object == "error" {
		return errors.New(shorten(c.Message))
	}
	return nil
}

// exchange sends a request and reads its answer into the record.
func (t *target) exchange(ctx context.Context, body []byte, r *Record) {
	limited, cancel := context.WithTimeout(ctx, t.cfg.Load.Timeout)
	defer cancel()
	sent := time.Now()
	err := t.read(limited, sent, body, r)
	if err != nil {
		r.End = time.Since(sent)
	}
	switch {
	case err == nil:
		if !r.Counted {
			r.OutputTokens = len(r.Events)
		}
	case ctx.Err() != nil:
		r.Gone = true
	case limited.Err() != nil:
		r.Failure = &Failure{failTimeout, fmt.Sprintf("no whole answer within %v", t.cfg.Load.Timeout)}
	default:
		r.Failure = classify(err)
	}
}

// streamError is a failure after the status of the answer.
type streamError struct {
	kind string
	err  error
}

func (e *streamError) Error() string { return e.err.Error() }
func (e *streamError) Unwrap() error { return e.err }

func classify(err error) *Failure {
	var refused *refusal
	var broken *streamError
	switch {
	case errors.As(err, &refused):
		return &Failure{fmt.Sprintf("http %d", refused.status), refused.message}
	case errors.As(err, &broken):
		return &Failure{broken.kind, broken.Error()}
	}
	return &Failure{failConnection, err.Error()}
}

func (e Endpoint) path() string {
	if e == Completions {
		return "/v1/completions"
	}
	return "/v1/chat/completions"
}

// drainTimeout is how long the end of a body may take after the answer was whole, before its
// connection is given up.
const drainTimeout = time.Second

// read sends a request and reads its stream to the end.
func (t *target) read(ctx context.Context, sent time.Time, body []byte, r *Record) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := t.do(ctx, http.MethodPost, t.cfg.Endpoint.path(), body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		return &streamError{failAnswer, fmt.Errorf("the answer is %q, not a stream of events", kind)}
	}
	stream := newEvents(resp.Body)
	final := false
	for count := 0; ; count++ {
		data, err := stream.next()
		at := time.Since(sent)
		switch {
		case errors.Is(err, io.EOF) && final: // a server that ends without [DONE]
			r.End = at
			return nil
		case errors.Is(err, io.EOF):
			return &streamError{failStream, errors.New("the stream ended before the answer did")}
		case err != nil:
			return &streamError{failStream, err}
		case string(data) == "[DONE]":
			r.End = at
			// A connection whose body has been read to its end is used again.
			defer time.AfterFunc(drainTimeout, cancel).Stop()
			_, _ = io.CopyN(io.Discard, resp.Body, 1) // it may have broken: the answer is whole
			return nil
		case count == maxEvents:
			return &streamError{failAnswer, fmt.Errorf("more than %d events in an answer", maxEvents)}
		}
		c, err := parseChunk(data)
		if err != nil {
			return err
		}
		final = final || c.isFinal()
		r.add(at, c)
	}
}

// parseChunk reads the data of an event; an error that the server puts there is one.
func parseChunk(data []byte) (*chunk, error) {
	var c chunk
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, &streamError{failAnswer, fmt.Errorf("%s: %w", shorten(string(data)), err)}
	}
	if err := c.failure(); err != nil {
		return nil, &streamError{failStream, err}
	}
	return &c, nil
}

// add takes a chunk into the record.
func (r *Record) add(at time.Duration, c *chunk) {
	if c.hasTokens() {
		r.Events = append(r.Events, at)
	}
	if u := c.Usage; u != nil {
		// Some servers send it with every chunk: the last one has the whole.
		r.Counted = true
		r.PromptTokens, r.OutputTokens = credible(u.PromptTokens), credible(u.CompletionTokens)
		if u.Details != nil && u.Details.CachedTokens != nil {
			cached := credible(*u.Details.CachedTokens)
			r.CachedTokens = &cached
		}
	}
}

// credible bounds a count that a server gives, so that sums stay numbers.
func credible(tokens int) int { return min(max(tokens, 0), 1<<30) }
