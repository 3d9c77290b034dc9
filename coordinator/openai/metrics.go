package openai

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are named as vLLM's, with conclave_ for vllm:, so that dashboards
// carry over by one replacement.
type metrics struct {
	requests        *prometheus.CounterVec // by endpoint and status
	finished        *prometheus.CounterVec // completions by reason
	promptTokens    prometheus.Counter
	generatedTokens prometheus.Counter
	firstToken      prometheus.Histogram
	interToken      prometheus.Histogram
	latency         prometheus.Histogram
}

// newMetrics registers the metrics of one Server.
func newMetrics(registry *prometheus.Registry, model string, e Engine) (*metrics, error) {
	labels := prometheus.Labels{"model_name": model}
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "conclave_" + name, Help: help, ConstLabels: labels}
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "conclave_" + name, Help: help, Buckets: buckets, ConstLabels: labels,
		})
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(counter("http_requests_total",
			"HTTP requests by endpoint and status."), []string{"endpoint", "status"}),
		finished: prometheus.NewCounterVec(counter("request_success_total",
			"Finished completions by reason."), []string{"finished_reason"}),
		promptTokens: prometheus.NewCounter(counter("prompt_tokens_total",
			"Tokens in accepted prompts.")),
		generatedTokens: prometheus.NewCounter(counter("generation_tokens_total",
			"Tokens generated.")),
		firstToken: histogram("time_to_first_token_seconds",
			"Time from a request's arrival to the first token of each of its completions.",
			[]float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10,
				20, 40, 80, 160, 640}),
		interToken: histogram("inter_token_latency_seconds",
			"Time between two tokens of a completion.",
			[]float64{.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1,
				2.5, 5, 10}),
		latency: histogram("e2e_request_latency_seconds",
			"Time from the arrival of a request that generated tokens to its end.",
			[]float64{.01, .05, .1, .3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60,
				120, 240, 480, 960, 1920}),
	}
	collectors := []prometheus.Collector{
		m.requests, m.finished, m.promptTokens, m.generatedTokens, m.firstToken, m.interToken,
		m.latency,
	}
	var problems []error
	for _, c := range append(collectors, engineMetrics(labels, e)...) {
		problems = append(problems, registry.Register(c))
	}
	return m, errors.Join(problems...)
}

// engineMetrics reads the engine's load whenever the metrics are scraped.
func engineMetrics(labels prometheus.Labels, e Engine) []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "conclave_" + name, Help: help, ConstLabels: labels,
		}, value)
	}
	counter := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "conclave_" + name, Help: help, ConstLabels: labels,
		}, value)
	}
	return []prometheus.Collector{
		gauge("num_requests_running", "Completions that hold a place in the batch.",
			func() float64 { return float64(e.Stats().Running) }),
		gauge("num_requests_waiting", "Completions that wait for a place in the batch.",
			func() float64 { return float64(e.Stats().Waiting) }),
		gauge("kv_cache_usage_perc", "Used part of the KV cache; 1 is full.", func() float64 {
			stats := e.Stats()
			if stats.PagesTotal == 0 {
				return 0
			}
			return float64(stats.PagesUsed) / float64(stats.PagesTotal)
		}),
		counter("num_preemptions_total", "Completions that lost their pages and started over.",
			func() float64 { return float64(e.Stats().Preemptions) }),
		counter("engine_steps_total", "Forward passes.",
			func() float64 { return float64(e.Stats().Steps) }),
	}
}
