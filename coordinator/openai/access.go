package openai

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/obs"
)

// maxRequestID bounds the request ids that clients may choose: they are logged.
const maxRequestID = 128

// statusClientGone is what the log and the metrics show for a client that left
// before its answer (nginx's number; it is never sent).
const statusClientGone = 499

// handler answers a request, or returns the error to answer with if it has not
// written anything.
type handler func(w http.ResponseWriter, r *http.Request, x *exchange) *apiError

// exchange is what is known about one request; its goroutine owns it.
type exchange struct {
	id       string // x-request-id
	started  time.Time
	endpoint string
	header   http.Header
	// deadline is when the completions of the request must have ended; zero if
	// they may take their time.
	deadline time.Time
	err      error        // of a stream that had begun
	trace    *obs.Request // nil: not sampled, or the engine was not asked

	model            string // what the client calls it; empty if it does not
	choices          int    // 0 unless the engine was asked
	finish           []string
	timing           engine.Timing // the longest of any choice's
	promptTokens     int
	cachedTokens     int // of the prompts
	completionTokens int
	reasoningTokens  int
	reasons          bool          // reasoning is told from content
	firstToken       time.Duration // since started; 0 before there is one
}

// serve wraps h with the request id, the log record and the metrics. endpoint
// names the route in both.
func (s *Server) serve(endpoint string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{
			id: r.Header.Get("X-Request-Id"), started: time.Now(), endpoint: endpoint, header: r.Header,
		}
		if !validID(x.id) {
			x.id = s.newID()
		}
		w.Header().Set("X-Request-Id", x.id)
		record := &recorder{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				x.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				if record.status != 0 {
					// Whoever has a part of the answer must not take it for all of it.
					defer panic(http.ErrAbortHandler)
				} else {
					writeError(record, fromEngine(errors.New("internal error"), ""))
				}
			}
			s.finish(endpoint, r, x, record.status)
		}()
		if err := h(record, r, x); err != nil {
			err.message = shorten(err.message, maxMessage)
			x.err = err
			writeError(record, err) // to nobody, if the client has left
		}
	})
}

// validID says whether a client's request id can be logged and sent back.
func validID(id string) bool {
	printable := func(c rune) bool { return c > ' ' && c < 0x7f }
	return id != "" && len(id) <= maxRequestID &&
		strings.IndexFunc(id, func(c rune) bool { return !printable(c) }) < 0
}

// finish counts and logs a request.
func (s *Server) finish(endpoint string, r *http.Request, x *exchange, status int) {
	if x.err != nil && errors.Is(r.Context().Err(), context.Canceled) {
		status = statusClientGone
	}
	took := time.Since(x.started)
	s.metrics.requests.WithLabelValues(endpoint, strconv.Itoa(status)).Inc()
	if x.completionTokens > 0 {
		s.metrics.latency.Observe(took.Seconds())
	}
	x.trace.End(obs.Outcome{
		Status: status, Err: x.err, Finish: x.finish, PromptTokens: x.promptTokens,
		CachedTokens: x.cachedTokens, CompletionTokens: x.completionTokens,
		ReasoningTokens: x.reasoningTokens, FirstToken: x.firstToken, Queued: x.timing.Queued,
		Prefill: x.timing.Prefill, Decode: x.timing.Decode,
	})
	level := slog.LevelInfo
	switch {
	case endpoint == "/readyz", !strings.HasPrefix(endpoint, "/v1/") && status < http.StatusBadRequest:
		level = slog.LevelDebug // probes and scrapes; "not ready" is an answer
	case status >= http.StatusInternalServerError:
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("req", x.id), slog.String("method", r.Method),
		slog.String("path", r.URL.Path), slog.Int("status", status),
	}
	s.cfg.Log.LogAttrs(r.Context(), level, "request", append(attrs, x.record(took)...)...)
}

// record is what the log says of a request beside what it was and its status.
func (x *exchange) record(took time.Duration) []slog.Attr {
	attrs := []slog.Attr{
		slog.Int("prompt_tokens", x.promptTokens),
		slog.Int("completion_tokens", x.completionTokens),
		slog.Duration("ttft", x.firstToken), slog.Duration("duration", took),
	}
	if x.choices > 0 {
		attrs = append(attrs,
			slog.Int("choices", x.choices), slog.String("finish", strings.Join(x.finish, ",")),
			slog.Int("cached_tokens", x.cachedTokens), slog.Int("reasoning_tokens", x.reasoningTokens),
			slog.Duration("queue", x.timing.Queued), slog.Duration("prefill", x.timing.Prefill),
			slog.Duration("decode", x.timing.Decode))
	}
	if x.model != "" {
		attrs = append(attrs, slog.String("model", x.model))
	}
	if id := x.trace.TraceID(); id != "" {
		attrs = append(attrs, slog.String("trace", id))
	}
	if x.err != nil {
		attrs = append(attrs, slog.String("error", x.err.Error()))
	}
	return attrs
}

// begin counts the work of a request before the engine gets it, and returns the
// context in which it is done: with the request's span, if it is sampled.
func (s *Server) begin(ctx context.Context, x *exchange, g *generation) context.Context {
	x.choices = len(g.choices)
	s.metrics.accepted(g)
	operation := "chat" // OpenTelemetry's word for responses too
	if x.endpoint == "/v1/completions" {
		operation = "text_completion"
	}
	ctx, x.trace = s.cfg.Tracing.Start(ctx, x.header, obs.Arrival{
		ID: x.id, Operation: operation, Model: s.cfg.ModelName, Route: x.endpoint, Started: x.started,
	})
	p := &g.params
	x.trace.Params(obs.Params{
		Stream: p.stream, Choices: p.choices, MaxTokens: g.choices[0].request.MaxTokens,
		Temperature: p.sampling.Temperature, TopP: p.sampling.TopP,
	})
	return ctx
}

// observe counts a token of c and the time it took.
func (s *Server) observe(x *exchange, c *choice, e engine.Event) {
	if e.Timing != nil {
		c.timing = *e.Timing
	}
	if c.counts {
		x.cachedTokens += e.Cached
	}
	if e.Token < 0 {
		return
	}
	now := time.Now()
	x.completionTokens++
	s.metrics.generatedTokens.Inc()
	if c.tokens > 1 {
		s.metrics.interToken.Observe(now.Sub(c.lastToken).Seconds())
	} else {
		s.metrics.firstToken.Observe(now.Sub(x.started).Seconds())
		c.firstToken = now
	}
	if x.firstToken == 0 {
		x.firstToken = now.Sub(x.started)
		x.trace.Event("first token")
	}
	c.lastToken = now
}

// complete counts the end of c.
func (s *Server) complete(x *exchange, c *choice, reason engine.Finish) {
	t := &c.timing
	if t.Decode == 0 && c.tokens > 1 { // a stop string: the engine was not asked to say
		t.Decode = c.lastToken.Sub(c.firstToken)
	}
	x.timing.Queued = max(x.timing.Queued, t.Queued)
	x.timing.Prefill = max(x.timing.Prefill, t.Prefill)
	x.timing.Decode = max(x.timing.Decode, t.Decode)
	x.finish = append(x.finish, string(reason))
	s.metrics.completed(c, reason)
}

// giveUp counts the choices of g that did not come to their end.
func (s *Server) giveUp(ctx context.Context, g *generation) {
	reason := finishError
	if errors.Is(ctx.Err(), context.Canceled) {
		reason = finishAbort
	}
	for _, c := range g.choices {
		if !c.finished {
			s.metrics.finished.WithLabelValues(string(reason)).Inc()
		}
	}
}

// recorder remembers the status of a response.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap gives http.ResponseController the writer underneath.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
