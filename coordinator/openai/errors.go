package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/coordinator/sample"
)

// Types of errors as OpenAI's clients know them.
const (
	typeInvalid   = "invalid_request_error"
	typeRateLimit = "rate_limit_error"
	typeServer    = "server_error"
)

// retrySeconds is what a client that was turned away is told to wait at least:
// short enough that a freed place does not stay empty.
const retrySeconds = 1

// maxMessage bounds what a client is told and the log keeps of an error: many
// quote the request.
const maxMessage = 800

// apiError is an error with the status and the body that a client gets.
type apiError struct {
	status  int
	kind    string
	message string
	param   string // JSON null if empty
	code    string // JSON null if empty
	cause   error  // for the log; nil if message says everything
	retry   int    // seconds that the client should wait, if more than retrySeconds
}

// Error implements error.
func (e *apiError) Error() string { return e.message }

// Unwrap returns the cause.
func (e *apiError) Unwrap() error { return e.cause }

// MarshalJSON returns the body {"error": {…}}.
func (e *apiError) MarshalJSON() ([]byte, error) {
	type body struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	optional := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	var b bytes.Buffer
	encodeJSON(&b, struct {
		Error body `json:"error"`
	}{body{e.message, e.kind, optional(e.param), optional(e.code)}})
	return b.Bytes(), nil
}

// invalid says that the field param has a value that makes no sense.
func invalid(param, format string, args ...any) *apiError {
	return &apiError{
		status: http.StatusBadRequest, kind: typeInvalid, param: param, code: "invalid_value",
		message: fmt.Sprintf(format, args...),
	}
}

// unsupported says that the field param asks for something Conclave lacks.
func unsupported(param, format string, args ...any) *apiError {
	return &apiError{
		status: http.StatusBadRequest, kind: typeInvalid, param: param,
		code: "unsupported_parameter", message: fmt.Sprintf(format, args...),
	}
}

// tooLong says that a request does not fit the model's context.
func tooLong(param, format string, args ...any) *apiError {
	return &apiError{
		status: http.StatusBadRequest, kind: typeInvalid, param: param,
		code: "context_length_exceeded", message: fmt.Sprintf(format, args...),
	}
}

// unavailable says that the server cannot serve anyone now.
func unavailable(code string, err error) *apiError {
	return &apiError{
		status: http.StatusServiceUnavailable, kind: typeServer, code: code,
		message: err.Error(), cause: err,
	}
}

// fromEngine is the table from the engine's errors to responses. param names
// the field that holds the prompt.
func fromEngine(err error, param string) *apiError {
	var api *apiError
	var logits *sample.LogitError
	var experts *engine.UnavailableError
	switch {
	case errors.As(err, &api):
		return api
	case errors.As(err, &experts):
		return unavailable("experts_unavailable", experts)
	case errors.Is(err, engine.ErrTooLong):
		return tooLong(param, "%s", err)
	case errors.Is(err, engine.ErrInvalid):
		return &apiError{status: http.StatusBadRequest, kind: typeInvalid, message: err.Error()}
	case errors.As(err, &logits) && logits.Restricted:
		return &apiError{
			status: http.StatusBadRequest, kind: typeInvalid, code: "no_token_allowed",
			message: "Together, 'allowed_token_ids', 'bad_words', 'min_tokens' and 'logit_bias' " +
				"leave no token that may come next.",
		}
	case errors.Is(err, engine.ErrDeadline), errors.Is(err, context.DeadlineExceeded):
		return &apiError{
			status: http.StatusGatewayTimeout, kind: typeServer, code: "deadline_exceeded",
			message: "The request's time was over before its answer was complete.",
		}
	case errors.Is(err, engine.ErrQueueFull):
		return &apiError{
			status: http.StatusTooManyRequests, kind: typeRateLimit,
			code: "rate_limit_exceeded", message: err.Error(),
		}
	case errors.Is(err, engine.ErrDraining):
		return unavailable("draining", err)
	case errors.Is(err, context.Canceled):
		return unavailable("cancelled", errors.New("the request was cancelled"))
	}
	return &apiError{
		status: http.StatusInternalServerError, kind: typeServer, code: "internal_error",
		message: err.Error(), cause: err,
	}
}

// failure is fromEngine with what the load tells a client that was turned away.
func (s *Server) failure(err error, param string) *apiError {
	e := fromEngine(err, param)
	if e.status == http.StatusTooManyRequests {
		e.retry = s.retryAfter()
	}
	return e
}

// writeError sends e as the whole response.
func writeError(w http.ResponseWriter, e *apiError) {
	if e.status == http.StatusTooManyRequests || e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(max(e.retry, retrySeconds)))
	}
	if e.status == http.StatusGatewayTimeout {
		// OpenAI's clients would ask again, for an answer that takes as long.
		w.Header().Set("X-Should-Retry", "false")
	}
	writeJSON(w, e.status, e)
}

// slowest is the rate, in bytes per second, at which a client must take an
// answer at least: that of a bad mobile connection.
const slowest = 64 << 10

// writeJSON sends v as the whole response. A client that is gone cannot be
// told, so a failed write is not an error here; one that does not take what it
// asked for counts as gone.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	encodeJSON(&body, v)
	// A writer without deadlines (a test's recorder) has no slow client either.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(
		writeTimeout + time.Duration(body.Len()/slowest)*time.Second))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
}
