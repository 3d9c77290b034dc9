package openai

import (
	"errors"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-serve/conclave/coordinator/engine"
)

// Ways in which a completion ends that the engine does not tell of, by vLLM's
// names: the client left, or something failed.
const (
	finishAbort engine.Finish = "abort"
	finishError engine.Finish = "error"
)

// Upper bounds of buckets. Those of times are in seconds and vLLM's, with finer
// ones below: small models answer in milliseconds.
var (
	firstTokenBuckets = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5,
		7.5, 10, 20, 40, 80, 160, 640, 2560}
	tokenBuckets = []float64{.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1,
		2.5, 5, 7.5, 10, 20, 40, 80}
	requestBuckets = []float64{.01, .05, .1, .3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60,
		120, 240, 480, 960, 1920, 7680}
	choiceBuckets = []float64{1, 2, 5, 10, 20}
)

// lengthBuckets are 1, 2, 5, 10 and so on, up to limit.
func lengthBuckets(limit int) []float64 {
	var buckets []float64
	for decade := 1; decade <= limit; decade *= 10 {
		for _, m := range []int{1, 2, 5} {
			if m*decade <= limit {
				buckets = append(buckets, float64(m*decade))
			}
		}
	}
	return buckets
}

// metrics are named as vLLM's, with conclave_ for vllm:, so that dashboards
// carry over by one replacement. The values of every label are known
// beforehand, or are status codes.
type metrics struct {
	requests        *prometheus.CounterVec // by endpoint and status
	finished        *prometheus.CounterVec // completions by reason
	promptTokens    prometheus.Counter
	generatedTokens prometheus.Counter
	structured      prometheus.Counter

	firstToken, interToken, perToken           prometheus.Histogram
	latency, queue, prefill, decode, inference prometheus.Histogram
	promptLength, length, choices, maxTokens   prometheus.Histogram
}

// newMetrics registers the metrics of one Server.
func newMetrics(registry *prometheus.Registry, model string, e Engine) (*metrics, error) {
	r := registrar{registry: registry, labels: prometheus.Labels{"model_name": model}}
	lengths := lengthBuckets(e.Context())
	m := &metrics{
		requests: r.counters("http_requests_total", "HTTP requests by endpoint and status.",
			"endpoint", "status"),
		finished: r.counters("request_success_total", "Completions that ended, by reason.",
			"finished_reason"),
		promptTokens:    r.counter("prompt_tokens_total", "Tokens in accepted prompts."),
		generatedTokens: r.counter("generation_tokens_total", "Tokens generated."),
		structured: r.counter("structured_output_requests_total",
			"Completions held to a schema or a grammar."),
		firstToken: r.histogram("time_to_first_token_seconds",
			"Time from a request's arrival to the first token of each of its completions.",
			firstTokenBuckets),
		interToken: r.histogram("inter_token_latency_seconds",
			"Time between two tokens of a completion.", tokenBuckets),
		perToken: r.histogram("request_time_per_output_token_seconds",
			"Mean time between two tokens of a completion, over the whole of it.", tokenBuckets),
		latency: r.histogram("e2e_request_latency_seconds",
			"Time from the arrival of a request that generated tokens to its end.", requestBuckets),
		queue: r.histogram("request_queue_time_seconds",
			"Time that a completion waited for a place in the batch.", requestBuckets),
		prefill: r.histogram("request_prefill_time_seconds",
			"Time that a completion was in the batch before its first token.", requestBuckets),
		decode: r.histogram("request_decode_time_seconds",
			"Time that a completion was in the batch after its first token.", requestBuckets),
		inference: r.histogram("request_inference_time_seconds",
			"Time that a completion was in the batch.", requestBuckets),
		promptLength: r.histogram("request_prompt_tokens",
			"Tokens in the prompt of a completion.", lengths),
		length: r.histogram("request_generation_tokens", "Tokens in a completion.", lengths),
		choices: r.histogram("request_params_n",
			"Completions asked for per prompt.", choiceBuckets),
		maxTokens: r.histogram("request_params_max_tokens",
			"Tokens that a completion may have, by the request or by the context.", lengths),
	}
	for _, reason := range []engine.Finish{
		engine.FinishStop, engine.FinishLength, finishCalls, finishAbort, finishError,
	} {
		m.finished.WithLabelValues(string(reason)) // a rate needs a zero to begin with
	}
	r.add(newEngineCollector(r.labels, e))
	return m, errors.Join(r.problems...)
}

// registrar registers metrics of one model.
type registrar struct {
	registry *prometheus.Registry
	labels   prometheus.Labels
	problems []error
}

func (r *registrar) add(c prometheus.Collector) {
	if err := r.registry.Register(c); err != nil {
		r.problems = append(r.problems, err)
	}
}

func (r *registrar) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "conclave_" + name, Help: help, ConstLabels: r.labels,
	}, labels)
	r.add(c)
	return c
}

func (r *registrar) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "conclave_" + name, Help: help, ConstLabels: r.labels,
	})
	r.add(c)
	return c
}

func (r *registrar) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "conclave_" + name, Help: help, Buckets: buckets, ConstLabels: r.labels,
	})
	r.add(h)
	return h
}

// accepted counts what a request asks for.
func (m *metrics) accepted(g *generation) {
	m.choices.Observe(float64(g.params.choices))
	for _, c := range g.choices {
		m.maxTokens.Observe(float64(c.request.MaxTokens))
		if slices.ContainsFunc(c.request.Force, func(f engine.Forced) bool { return f.Then != nil }) {
			m.structured.Inc()
		}
	}
}

// completed counts a completion that came to its end.
func (m *metrics) completed(c *choice, reason engine.Finish) {
	m.finished.WithLabelValues(string(reason)).Inc()
	m.promptLength.Observe(float64(len(c.prompt.ids)))
	m.length.Observe(float64(c.tokens))
	t := c.timing
	m.queue.Observe(t.Queued.Seconds())
	m.prefill.Observe(t.Prefill.Seconds())
	m.decode.Observe(t.Decode.Seconds())
	m.inference.Observe((t.Prefill + t.Decode).Seconds())
	if c.tokens > 1 {
		m.perToken.Observe(c.lastToken.Sub(c.firstToken).Seconds() / float64(c.tokens-1))
	}
}

// engineMetric is a number that the engine counts.
type engineMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*engine.Stats) float64
}

// engineCollector reads the engine's load, once for each scrape.
type engineCollector struct {
	engine  Engine
	metrics []engineMetric
}

func newEngineCollector(labels prometheus.Labels, e Engine) *engineCollector {
	c := &engineCollector{engine: e}
	add := func(kind prometheus.ValueType, name, help string, value func(*engine.Stats) float64) {
		desc := prometheus.NewDesc("conclave_"+name, help, nil, labels)
		c.metrics = append(c.metrics, engineMetric{desc, kind, value})
	}
	gauge := func(name, help string, value func(*engine.Stats) float64) {
		add(prometheus.GaugeValue, name, help, value)
	}
	counter := func(name, help string, value func(*engine.Stats) int64) {
		add(prometheus.CounterValue, name, help,
			func(s *engine.Stats) float64 { return float64(value(s)) })
	}
	pages := func(part func(*engine.Stats) int) func(*engine.Stats) float64 {
		return func(s *engine.Stats) float64 { return float64(part(s)) / float64(max(s.PagesTotal, 1)) }
	}
	gauge("num_requests_running", "Completions that hold a place in the batch.",
		func(s *engine.Stats) float64 { return float64(s.Running) })
	gauge("num_requests_waiting", "Completions that wait for a place in the batch.",
		func(s *engine.Stats) float64 { return float64(s.Waiting) })
	gauge("kv_cache_usage_perc", "Part of the KV cache that completions use; 1 is full.",
		pages(func(s *engine.Stats) int { return s.PagesUsed }))
	gauge("kv_cache_kept_perc", "Part of the KV cache that is kept for prompts to come.",
		pages(func(s *engine.Stats) int { return s.PagesCached }))
	counter("num_preemptions_total", "Completions that lost their pages and started over.",
		func(s *engine.Stats) int64 { return s.Preemptions })
	counter("engine_steps_total", "Forward passes.",
		func(s *engine.Stats) int64 { return s.Steps })
	counter("prefix_cache_queries_total", "Tokens of prompts that were looked for in the cache.",
		func(s *engine.Stats) int64 { return s.PrefixQueries })
	counter("prefix_cache_hits_total", "Tokens of prompts that were found in the cache.",
		func(s *engine.Stats) int64 { return s.PrefixHits })
	counter("spec_decode_num_draft_tokens_total", "Tokens guessed ahead.",
		func(s *engine.Stats) int64 { return s.DraftTokens })
	counter("spec_decode_num_accepted_tokens_total", "Tokens guessed ahead and right.",
		func(s *engine.Stats) int64 { return s.AcceptedTokens })
	return c
}

// Describe implements prometheus.Collector.
func (c *engineCollector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *engineCollector) Collect(out chan<- prometheus.Metric) {
	stats := c.engine.Stats()
	for _, m := range c.metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&stats))
	}
}
