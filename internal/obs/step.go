package obs

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// What a trace may hold of its steps. A long answer of a large model has
// hundreds of thousands of hops; the first of them show what is to be seen, and
// no viewer shows them all. Later steps have sums.
const (
	maxSteps = 1024
	maxHops  = 4096
)

// Step is what is known of a step that sampled requests take part in. With and
// End are for the goroutine that runs the step; Hop is safe for concurrent use.
// A nil Step is one that nobody traces.
type Step struct {
	started time.Time
	members []member

	mu   sync.Mutex
	hops []Hop
	sums sums
}

// member is a request in a step.
type member struct {
	request *Request
	rows    int
}

// sums is where the time of a step's hops went.
type sums struct {
	calls, failures         int
	network, queue, compute time.Duration
}

// Hop is one call to a worker and its answer. What of Took is neither Queue nor
// Compute, by the worker's own clock, is the network's.
type Hop struct {
	Layer, Micro int // the layer, and which micro-batch of the step
	Worker       string
	// Rows counts the activations sent.
	Rows    int
	Started time.Time
	Took    time.Duration
	// Queue is how long the call waited at the worker, Compute how long it ran.
	Queue, Compute time.Duration
	// Err says why there is no answer.
	Err error
}

// StepFacts is what a step was.
type StepFacts struct {
	// Number counts the engine's steps.
	Number int64
	// Rows counts the positions computed, Sequences those that they are of.
	Rows, Sequences int
	Err             error
}

// With adds a request that has so many rows in the step, and returns the step:
// a new one, begun now, if s is nil. A nil request adds nothing.
func (s *Step) With(r *Request, rows int) *Step {
	if r == nil {
		return s
	}
	if s == nil {
		s = &Step{started: time.Now()}
	}
	for i := range s.members {
		if s.members[i].request == r { // another choice of the same request
			s.members[i].rows += rows
			return s
		}
	}
	s.members = append(s.members, member{r, rows})
	return s
}

type stepKey struct{}

// WithStep returns a context that carries s, for StepFrom: ctx itself if s is
// nil.
func WithStep(ctx context.Context, s *Step) context.Context {
	if s == nil {
		return ctx
	}
	return context.WithValue(ctx, stepKey{}, s)
}

// StepFrom returns the traced step that ctx belongs to, or nil.
func StepFrom(ctx context.Context) *Step {
	s, _ := ctx.Value(stepKey{}).(*Step)
	return s
}

// Hop notes a call to a worker that has ended.
func (s *Step) Hop(h Hop) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sums.calls++
	if h.Err != nil {
		s.sums.failures++
	}
	s.sums.queue += h.Queue
	s.sums.compute += h.Compute
	s.sums.network += h.Took - h.Queue - h.Compute
	if len(s.hops) < maxHops {
		s.hops = append(s.hops, h)
	}
}

// End makes spans of the step, one for each request in it.
func (s *Step) End(f StepFacts) {
	if s == nil {
		return
	}
	ended := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	attributes := []attribute.KeyValue{
		attribute.Int64("conclave.step", f.Number),
		attribute.Int("conclave.rows", f.Rows),
		attribute.Int("conclave.sequences", f.Sequences),
		attribute.Int("conclave.hops", s.sums.calls),
		attribute.Int("conclave.hops_failed", s.sums.failures),
		attribute.Float64("conclave.network_seconds", s.sums.network.Seconds()),
		attribute.Float64("conclave.queue_seconds", s.sums.queue.Seconds()),
		attribute.Float64("conclave.compute_seconds", s.sums.compute.Seconds()),
	}
	for _, m := range s.members {
		detail := m.request.hops.Add(int64(s.sums.calls)) <= maxHops
		if m.request.steps.Add(1) > maxSteps {
			continue
		}
		ctx, span := m.request.tracer.Start(m.request.parent, "step",
			trace.WithTimestamp(s.started), trace.WithAttributes(attributes...),
			trace.WithAttributes(attribute.Int("conclave.request_rows", m.rows)))
		if detail {
			for i := range s.hops {
				s.hops[i].span(ctx, m.request.tracer)
			}
		}
		if f.Err != nil {
			span.RecordError(f.Err)
			span.SetStatus(codes.Error, f.Err.Error())
		}
		span.End(trace.WithTimestamp(ended))
	}
}

// span makes the span of a hop, under the one in ctx.
func (h *Hop) span(ctx context.Context, tracer trace.Tracer) {
	_, span := tracer.Start(ctx, "hop", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithTimestamp(h.Started), trace.WithAttributes(
			attribute.Int("conclave.layer", h.Layer),
			attribute.Int("conclave.micro_batch", h.Micro),
			attribute.String("conclave.worker", h.Worker),
			attribute.Int("conclave.rows", h.Rows),
			attribute.Float64("conclave.network_seconds", (h.Took-h.Queue-h.Compute).Seconds()),
			attribute.Float64("conclave.queue_seconds", h.Queue.Seconds()),
			attribute.Float64("conclave.compute_seconds", h.Compute.Seconds())))
	if h.Err != nil {
		span.SetStatus(codes.Error, h.Err.Error())
	}
	span.End(trace.WithTimestamp(h.Started.Add(h.Took)))
}
