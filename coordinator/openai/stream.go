package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// writeTimeout is how long a client may take to accept one event before it
// counts as gone; its place in the batch is worth more than its patience.
const writeTimeout = 30 * time.Second

// events writes server-sent events. The response starts with the first event,
// so that an error before it still gets its own status.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  bytes.Buffer
	started bool
}

func newEvents(w http.ResponseWriter) *events {
	return &events{w: w, control: http.NewResponseController(w)}
}

// send writes v as one event.
func (s *events) send(v any) error {
	s.buffer.Reset()
	return s.data(v)
}

// named writes v as one event with a name.
func (s *events) named(name string, v any) error {
	s.buffer.Reset()
	s.buffer.WriteString("event: " + name + "\n")
	return s.data(v)
}

func (s *events) data(v any) error {
	s.buffer.WriteString("data: ")
	encodeJSON(&s.buffer, v) // ends with one newline
	s.buffer.WriteByte('\n')
	return s.flush()
}

// done writes the end marker.
func (s *events) done() error {
	s.buffer.Reset()
	s.buffer.WriteString("data: [DONE]\n\n")
	return s.flush()
}

func (s *events) flush() error {
	if !s.started {
		s.started = true
		header := s.w.Header()
		header.Set("Content-Type", "text/event-stream; charset=utf-8")
		header.Set("Cache-Control", "no-cache")
		header.Set("X-Accel-Buffering", "no") // nginx would hold events back
		s.w.WriteHeader(http.StatusOK)
	}
	// A writer without deadlines (a test's recorder) has no slow client either.
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.w.Write(s.buffer.Bytes()); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}

// marshal returns v as encodeJSON writes it, without the newline.
func marshal(v any) json.RawMessage {
	var b bytes.Buffer
	encodeJSON(&b, v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// encodeJSON appends v and a newline, without escaping <, > and &: nothing
// here is embedded in HTML.
func encodeJSON(b *bytes.Buffer, v any) {
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(fmt.Sprintf("openai: response cannot be encoded: %v", err)) // our own types only
	}
}

// usageField returns the usage of a chunk: absent if the client did not ask
// for it, null in every chunk but the last, unless it asked for that, too.
func usageField(p *params, x *exchange, last bool) json.RawMessage {
	switch {
	case !p.usage:
		return nil
	case !last && !p.usageSoFar:
		return json.RawMessage("null")
	}
	return x.usageJSON()
}

// usageJSON returns the token counts of a request so far.
func (x *exchange) usageJSON() json.RawMessage {
	usage := fmt.Appendf(nil, `{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,`+
		`"prompt_tokens_details":{"cached_tokens":%d}`,
		x.promptTokens, x.completionTokens, x.promptTokens+x.completionTokens, x.cachedTokens)
	if x.reasons {
		usage = fmt.Appendf(usage, `,"completion_tokens_details":{"reasoning_tokens":%d}`,
			x.reasoningTokens)
	}
	return append(usage, '}')
}

// stream runs g and sends what emit makes of it as events, then the usage if
// the client asked for it. An error before the first event is returned, a later
// one becomes the last event.
func (s *Server) stream(r *http.Request, x *exchange, g *generation, to *events,
	emit func(*choice, delta) error, usage func() any,
) *apiError {
	err := s.run(r.Context(), x, g, emit)
	if err == nil && g.params.usage {
		err = to.send(usage())
	}
	if err == nil {
		err = to.done()
	}
	if err != nil {
		failure := s.failure(err, g.param)
		if !to.started {
			return failure
		}
		x.err = err
		if r.Context().Err() == nil {
			_ = to.send(failure) // if the client cannot be reached, nobody is left to tell
		}
	}
	_ = to.control.SetWriteDeadline(time.Time{}) // the connection may serve another request
	return nil
}
