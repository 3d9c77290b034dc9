package obs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// maxQueue spans may wait for the collector: all hops of one trace. Each takes
	// a few kilobytes.
	maxQueue = maxHops
	// exportTimeout bounds one delivery, with its retries.
	exportTimeout = 10 * time.Second
	// closeTimeout is how long the last spans may take to leave: a process that
	// stops does not wait for a collector that is gone.
	closeTimeout = 3 * time.Second
	// scope names the code that makes the spans.
	scope = "github.com/conclave-serve/conclave"
)

// Config says where spans go and how many there are.
type Config struct {
	// Endpoint is the collector's URL: http://HOST:4318 or https:// for OTLP over
	// HTTP (to /v1/traces, unless the URL has a path), grpc://HOST:4317 or
	// grpcs:// for OTLP over gRPC. Without one nothing is traced.
	Endpoint string
	// Sample is the part of requests that is traced, 0 to 1, of those that do not
	// bring the decision along: a traceparent header outweighs it either way.
	Sample float64
	// Service and Instance name the process in its spans: service.name and
	// service.instance.id.
	Service, Instance string
	// Exporter, if set, takes the spans in place of an endpoint.
	Exporter sdk.SpanExporter
	// Log hears when spans cannot be delivered; nil means nobody does.
	Log *slog.Logger
}

// Validate returns what is wrong with c.
func (c *Config) Validate() error {
	var problems []error
	if !(c.Sample >= 0 && c.Sample <= 1) { // NaN is neither
		problems = append(problems, fmt.Errorf("traced part of requests is %v: want 0 to 1", c.Sample))
	}
	if c.Endpoint != "" {
		if _, err := parseEndpoint(c.Endpoint); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// Tracing starts the spans of requests and sends them to a collector. Its
// methods are safe for concurrent use, and do nothing on nil.
type Tracing struct {
	provider *sdk.TracerProvider
	exporter sdk.SpanExporter
	tracer   trace.Tracer
}

// New returns what traces requests as c says, or nil if c names no collector.
// It must be closed.
func New(ctx context.Context, c Config) (*Tracing, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	if c.Endpoint == "" && c.Exporter == nil {
		return nil, nil
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	out := c.Exporter
	if out == nil {
		var err error
		if out, err = newExporter(ctx, c.Endpoint); err != nil {
			return nil, fmt.Errorf("tracing: %w", err)
		}
	}
	t := &Tracing{exporter: &exporter{SpanExporter: out, log: c.Log}}
	t.provider = sdk.NewTracerProvider(
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", c.Service),
			attribute.String("service.instance.id", c.Instance))),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(c.Sample))),
		sdk.WithBatcher(t.exporter,
			sdk.WithMaxQueueSize(maxQueue), sdk.WithExportTimeout(exportTimeout)))
	t.tracer = t.provider.Tracer(scope)
	if u, err := url.Parse(c.Endpoint); err == nil && c.Endpoint != "" {
		c.Log.Info("tracing", "endpoint", u.Redacted(), "sample", c.Sample)
	}
	return t, nil
}

// Close sends what is queued, for as long as that takes a collector that
// listens, and stops. It may be called more than once.
func (t *Tracing) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := t.provider.Shutdown(ctx)
	if err != nil {
		// A delivery may still be trying again; this ends it.
		err = errors.Join(err, t.exporter.Shutdown(ctx))
	}
	if err != nil {
		return fmt.Errorf("send the last spans: %w", err)
	}
	return nil
}
