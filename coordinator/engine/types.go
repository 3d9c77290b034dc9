package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/conclave-serve/conclave/coordinator/sample"
)

// Request asks for one completion of one prompt.
type Request struct {
	// ID names the request in logs and errors; the caller makes it unique.
	ID string
	// Prompt holds at least one token id, each within the model's vocabulary.
	Prompt []int32
	// Sampling says how the next token is chosen.
	Sampling sample.Params
	// MaxTokens bounds the completion. Zero is allowed only with
	// PromptLogprobs: the prompt is then scored and nothing is generated.
	MaxTokens int
	// MinTokens is how many tokens come before a stop id may.
	MinTokens int
	// StopIDs end the completion; the stopping token itself is delivered.
	StopIDs []int32
	// Priority orders requests that wait: lower ones come first, equal ones in
	// order of arrival. Under pressure those that came last by this order give
	// their place back.
	Priority int
	// CacheSalt keeps the prompt's pages apart: only requests with an equal salt
	// share them.
	CacheSalt string
	// Logprobs is the number of alternatives reported with each token: 0
	// reports the chosen token alone, -1 reports nothing.
	Logprobs int
	// PromptLogprobs asks for the log-probability of every prompt token, with
	// max(Logprobs, 0) alternatives each.
	PromptLogprobs bool
	// Force holds what the completion must say, in order; nil means nothing.
	Force []Forced
}

// Finish says why a completion ended.
type Finish string

// The ways in which a completion ends.
const (
	FinishStop      Finish = "stop"      // a stop id was produced
	FinishLength    Finish = "length"    // MaxTokens or the context length was reached
	FinishCancelled Finish = "cancelled" // the caller's context ended
	FinishError     Finish = "error"     // Event.Err says what went wrong
)

// Event is one step of a completion as its caller sees it. The last event of
// a stream, and only the last, has Finish set; the channel is closed after it.
type Event struct {
	// Token is the token produced, or -1 on an event that carries none.
	Token int32
	// Logprob describes Token when the request asked for it.
	Logprob TokenLogprob
	// Cached is, on the first event, how many tokens of the prompt were found in
	// the prefix cache.
	Cached int
	// Prompt holds one entry per prompt token, once, before the first token;
	// the first entry has no probability (Token set, Logprob 0, Top nil).
	Prompt []TokenLogprob
	// Finish is empty until the last event.
	Finish Finish
	// Err is set when Finish is FinishError.
	Err error
	// Timing is set on the event of the first token, and on the last event unless
	// the engine was cut off.
	Timing *Timing
}

// Timing says where a request's time went: until it first had a place in the
// batch, until its first token, and until its end.
type Timing struct{ Queued, Prefill, Decode time.Duration }

// TokenLogprob is the natural log-probability of one token under the model's
// own distribution, before penalties and temperature.
type TokenLogprob struct {
	Token   int32
	Logprob float32
	Top     []sample.Alternative
}

// Stats is a snapshot of the engine's load.
type Stats struct {
	// Running and Waiting count requests that hold a place in the batch and
	// requests that wait for one.
	Running int `json:"running"`
	Waiting int `json:"waiting"`
	// PagesUsed and PagesTotal count the pages of the KV cache; PagesCached are
	// those that nobody uses, kept because somebody may.
	PagesUsed   int `json:"pages_used"`
	PagesCached int `json:"pages_cached"`
	PagesTotal  int `json:"pages_total"`
	// PrefixQueries and PrefixHits count the tokens that were looked for in the
	// prefix cache, and those that were found.
	PrefixQueries int64 `json:"prefix_queries"`
	PrefixHits    int64 `json:"prefix_hits"`
	// DraftTokens and AcceptedTokens count what speculation has guessed, and
	// what of that came true.
	DraftTokens    int64 `json:"draft_tokens"`
	AcceptedTokens int64 `json:"accepted_tokens"`
	// Preemptions counts requests that gave their pages back and started over.
	Preemptions int64 `json:"preemptions"`
	// Steps counts forward passes.
	Steps int64 `json:"steps"`
	// GeneratedTokens counts the tokens of answers.
	GeneratedTokens int64 `json:"generated_tokens"`
}

// Errors that Submit returns; match them with errors.Is.
var (
	// ErrTooLong says that a prompt leaves no room in the model's context or
	// in the KV cache.
	ErrTooLong = errors.New("prompt is too long")
	// ErrQueueFull says that as many requests wait as the engine accepts.
	ErrQueueFull = errors.New("too many requests are waiting")
	// ErrDraining says that the engine takes no new requests because it stops.
	ErrDraining = errors.New("the coordinator is shutting down")
	// ErrDeadline says that a request's own deadline passed before it was done.
	ErrDeadline = errors.New("the request's deadline has passed")
	// ErrInvalid says that a request contradicts itself or the model.
	ErrInvalid = errors.New("invalid request")
)

// UnavailableError says that experts which a request needs could not be
// reached for longer than the coordinator waits. The request itself was fine.
type UnavailableError struct {
	// Reason names the layer, the experts and the workers concerned.
	Reason string
}

// Error implements error.
func (e *UnavailableError) Error() string {
	return fmt.Sprintf("experts unavailable: %s", e.Reason)
}
