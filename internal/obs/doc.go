// Package obs traces requests: what each one waited for, step by step, and
// where a step's time went, worker by worker, as OpenTelemetry spans sent to a
// collector.
//
// It owns the export of spans (Tracing), the span of a request (Request), and
// what is known of a step that sampled requests take part in (Step). It is the
// only package that knows OpenTelemetry; what it is told is plain data, and
// never a prompt or an answer.
//
// A trace is a tree: the request; under it the steps that its sequences took
// part in; under each of these the layers' hops to workers. Requests that share
// a step get a span of it each: a trace is whole without the others.
//
// Invariants:
//   - Nothing is global: a Tracing is handed to whoever starts requests, and
//     everything else travels in contexts.
//   - A nil Tracing, Request or Step does nothing, at the price of a comparison
//     and without allocating: what is not sampled costs nothing.
//   - Nothing waits for the collector. Spans beyond what the queue holds are
//     dropped, and a trace has at most maxSteps steps and maxHops hops.
//   - Failing to deliver is a line in the log, never an error of a request.
//
// Example:
//
//	ctx, request := tracing.Start(ctx, r.Header, obs.Arrival{ID: id, Started: now})
//	defer func() { request.End(outcome) }()
//
//	// In the step loop, for every sequence in the step:
//	step = step.With(obs.RequestFrom(s.ctx), rows)
//	ctx = obs.WithStep(ctx, step)
//	// Below, wherever an answer of a worker arrives:
//	obs.StepFrom(ctx).Hop(obs.Hop{Layer: 3, Worker: "w-1", Started: sent, Took: took})
//	// At the end:
//	step.End(obs.StepFacts{Number: n, Rows: len(rows)})
package obs
