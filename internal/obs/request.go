package obs

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"
)

// Names that OpenTelemetry's conventions for generative AI do not have; those
// under gen_ai are vLLM's.
const (
	keyRequestID = attribute.Key("gen_ai.request.id")
	keyQueue     = attribute.Key("gen_ai.latency.time_in_queue")
	keyFirst     = attribute.Key("gen_ai.latency.time_to_first_token")
	keyPrefill   = attribute.Key("gen_ai.latency.time_in_model_prefill")
	keyDecode    = attribute.Key("gen_ai.latency.time_in_model_decode")
	keyTotal     = attribute.Key("gen_ai.latency.e2e")
	keySteps     = attribute.Key("conclave.steps")
	keyHops      = attribute.Key("conclave.hops")
)

// Request is the span of one request. A nil Request is one that is not sampled.
// Its methods are safe for concurrent use, and do nothing on nil.
type Request struct {
	tracer  trace.Tracer
	span    trace.Span
	parent  context.Context // carries span
	started time.Time
	steps   atomic.Int64 // that it took part in
	hops    atomic.Int64 // of these steps
}

// Arrival is what is known of a request at its beginning.
type Arrival struct {
	// ID names the request in logs and answers.
	ID string
	// Operation is what it asks for, in OpenTelemetry's words: chat,
	// text_completion.
	Operation string
	// Model is the name of the model, Route the HTTP route.
	Model, Route string
	Started      time.Time
}

// Params is what a request asks for.
type Params struct {
	Stream             bool
	Choices, MaxTokens int
	Temperature, TopP  float32
}

// Outcome is what came of a request.
type Outcome struct {
	Status int // of HTTP
	Err    error
	// Finish says why each completion ended.
	Finish []string
	// Tokens of the prompts, of those found in the cache, of the answers, and of
	// these the model's reasoning.
	PromptTokens, CachedTokens, CompletionTokens, ReasoningTokens int
	// FirstToken is the time from arrival to the first token, Queued, Prefill and
	// Decode what the engine says; 0 where there is none.
	FirstToken, Queued, Prefill, Decode time.Duration
}

type requestKey struct{}

// Start begins the span of a request that came with header, and returns a
// context that carries it, for RequestFrom. The Request is nil if the request
// is not sampled.
func (t *Tracing) Start(ctx context.Context, header http.Header, a Arrival) (
	context.Context, *Request,
) {
	if t == nil {
		return ctx, nil
	}
	parent := propagation.TraceContext{}.Extract(
		context.Background(), propagation.HeaderCarrier(header))
	parent, span := t.tracer.Start(parent, a.Operation+" "+a.Model,
		trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(a.Started))
	if !span.IsRecording() {
		return ctx, nil
	}
	span.SetAttributes(
		keyRequestID.String(a.ID),
		semconv.GenAIOperationNameKey.String(a.Operation),
		semconv.GenAIProviderNameKey.String("conclave"),
		semconv.GenAIRequestModel(a.Model),
		semconv.HTTPRoute(a.Route),
	)
	r := &Request{tracer: t.tracer, span: span, parent: parent, started: a.Started}
	return context.WithValue(ctx, requestKey{}, r), r
}

// RequestFrom returns the sampled request that ctx belongs to, or nil.
func RequestFrom(ctx context.Context) *Request {
	r, _ := ctx.Value(requestKey{}).(*Request)
	return r
}

// TraceID returns the trace's id in hexadecimal, or "".
func (r *Request) TraceID() string {
	if r == nil {
		return ""
	}
	return r.span.SpanContext().TraceID().String()
}

// Event notes that something happened to the request now.
func (r *Request) Event(name string) {
	if r != nil {
		r.span.AddEvent(name)
	}
}

// Params notes what the request asks for.
func (r *Request) Params(p Params) {
	if r == nil {
		return
	}
	r.span.SetAttributes(
		semconv.GenAIRequestStream(p.Stream),
		semconv.GenAIRequestMaxTokens(p.MaxTokens),
		semconv.GenAIRequestTemperature(float64(p.Temperature)),
		semconv.GenAIRequestTopP(float64(p.TopP)),
	)
	if p.Choices != 1 { // as the conventions want it
		r.span.SetAttributes(semconv.GenAIRequestChoiceCount(p.Choices))
	}
}

// End ends the span. Only a failure of the server's is an error of the span.
func (r *Request) End(o Outcome) {
	if r == nil {
		return
	}
	ended := time.Now()
	r.span.SetAttributes(
		semconv.HTTPResponseStatusCode(o.Status),
		semconv.GenAIUsageInputTokens(o.PromptTokens),
		semconv.GenAIUsageCacheReadInputTokens(o.CachedTokens),
		semconv.GenAIUsageOutputTokens(o.CompletionTokens),
		semconv.GenAIUsageReasoningOutputTokens(o.ReasoningTokens),
		keySteps.Int64(r.steps.Load()), keyHops.Int64(r.hops.Load()),
		keyTotal.Float64(ended.Sub(r.started).Seconds()),
	)
	if len(o.Finish) > 0 {
		r.span.SetAttributes(semconv.GenAIResponseFinishReasons(o.Finish...))
	}
	for key, d := range map[attribute.Key]time.Duration{
		keyFirst: o.FirstToken, keyQueue: o.Queued, keyPrefill: o.Prefill, keyDecode: o.Decode,
	} {
		if d > 0 {
			r.span.SetAttributes(key.Float64(d.Seconds()))
		}
	}
	if o.Err != nil {
		r.span.RecordError(o.Err)
	}
	if o.Status >= http.StatusInternalServerError {
		r.span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(o.Status)))
		message := http.StatusText(o.Status)
		if o.Err != nil {
			message = o.Err.Error()
		}
		r.span.SetStatus(codes.Error, message)
	}
	r.span.End(trace.WithTimestamp(ended))
}
