package main

import (
	"cmp"
	"fmt"
	"os"
	"strconv"

	"github.com/conclave-serve/conclave/internal/obs"
)

// traceFlags say which requests are traced, and where to.
type traceFlags struct {
	OTLPEndpoint string  `help:"Collector that gets traces: http://HOST:4318, https://, grpc://HOST:4317 or grpcs://; default: none." placeholder:"URL"`
	TraceSample  float64 `help:"Part of the requests that is traced, 0 to 1; a client's traceparent header decides before it." default:"0.01"`
}

func (f *traceFlags) validate() error {
	cfg := f.tracing()
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("--otlp-endpoint and --trace-sample: %w", err)
	}
	return nil
}

// tracing reads what OpenTelemetry's own environment says of the service; the
// rest of it (headers, certificates, attributes) the SDK reads itself.
func (f *traceFlags) tracing() obs.Config {
	return obs.Config{
		Endpoint: f.OTLPEndpoint, Sample: f.TraceSample,
		Service: cmp.Or(os.Getenv("OTEL_SERVICE_NAME"), "conclave"),
	}
}

// traceArgs hands the flags on to a child.
func (f *traceFlags) traceArgs() []string {
	return []string{
		"--otlp-endpoint", f.OTLPEndpoint,
		"--trace-sample", strconv.FormatFloat(f.TraceSample, 'g', -1, 64),
	}
}
