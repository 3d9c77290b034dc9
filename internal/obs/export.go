package obs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// tracesPath is where OTLP over HTTP takes spans, unless told otherwise.
const tracesPath = "/v1/traces"

// endpoint is a collector's URL, taken apart.
type endpoint struct {
	host   string // with its port
	path   string // of HTTP
	grpc   bool
	secure bool
}

func parseEndpoint(text string) (endpoint, error) {
	u, err := url.Parse(text)
	if err != nil {
		var parse *url.Error // quotes the whole, with a password in it
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return endpoint{}, fmt.Errorf("collector's URL: %w", err)
	}
	e := endpoint{host: u.Host, path: u.Path}
	switch u.Scheme {
	case "http":
	case "https":
		e.secure = true
	case "grpc":
		e.grpc = true
	case "grpcs":
		e.grpc, e.secure = true, true
	default:
		return e, fmt.Errorf("collector's URL %q: want http://, https://, grpc:// or grpcs://, "+
			"such as http://localhost:4318", u.Redacted())
	}
	switch {
	case u.Hostname() == "":
		return e, fmt.Errorf("collector's URL %q names no host", u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return e, fmt.Errorf("collector's URL %q: want a host and at most a path; secrets go "+
			"into OTEL_EXPORTER_OTLP_HEADERS", u.Redacted())
	case e.grpc && e.path != "" && e.path != "/":
		return e, fmt.Errorf("collector's URL %q: gRPC knows no path", u.Redacted())
	case e.path == "" || e.path == "/":
		e.path = tracesPath
	}
	return e, nil
}

// newExporter returns what sends spans to the collector at url. It connects
// when there is something to send. Headers, certificates and compression come
// from OpenTelemetry's own environment variables, which the SDK reads.
func newExporter(ctx context.Context, url string) (sdk.SpanExporter, error) {
	e, err := parseEndpoint(url)
	if err != nil {
		return nil, err
	}
	if e.grpc {
		options := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(e.host)}
		if !e.secure {
			options = append(options, otlptracegrpc.WithInsecure())
		}
		return otlptracegrpc.New(ctx, options...)
	}
	options := []otlptracehttp.Option{
		otlptracehttp.WithEndpoint(e.host), otlptracehttp.WithURLPath(e.path),
	}
	if !e.secure {
		options = append(options, otlptracehttp.WithInsecure())
	}
	return otlptracehttp.New(ctx, options...)
}

// exporter tells the log when spans cannot be delivered, once, and when they
// can again. The SDK itself would tell a global handler, each time.
type exporter struct {
	sdk.SpanExporter
	log     *slog.Logger
	failing atomic.Bool
}

// ExportSpans implements sdk.SpanExporter.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !e.failing.Swap(true):
		e.log.Warn("traces cannot be delivered and are dropped", "err", err)
	case err == nil && e.failing.Swap(false):
		e.log.Info("traces are delivered again")
	}
	return nil
}
