package loadgen

import (
	"cmp"
	"slices"
	"time"
)

// Report is what a run found. Times are in milliseconds unless their names say otherwise.
type Report struct {
	Target  Target    `json:"target"`
	Load    LoadFacts `json:"load"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"` // from the first request to the end of the last

	Interrupted bool `json:"interrupted"`

	Requests   Counts     `json:"requests"`
	Tokens     Tokens     `json:"tokens"`
	Throughput Throughput `json:"throughput"`
	Goodput    *Goodput   `json:"goodput,omitempty"`

	TTFT *Summary `json:"ttft_ms"` // time to first token, by request
	ITL  *Summary `json:"itl_ms"`  // inter-token latency, by gap between events
	TPOT *Summary `json:"tpot_ms"` // time per output token after the first, by request
	E2E  *Summary `json:"e2e_ms"`  // to the whole answer, by request
	Late *Summary `json:"late_ms"` // how long after it was due a request was sent; with a rate

	PromptTokens *Summary `json:"prompt_tokens"` // by request
	OutputTokens *Summary `json:"output_tokens"`

	Errors []ErrorCount `json:"errors"`
	Notes  []string     `json:"notes"` // what a reader should know of the figures

	Records []Record `json:"-"` // as they ended
}

// Target is what was measured.
type Target struct {
	URL      string   `json:"url"`
	Model    string   `json:"model"`
	Endpoint Endpoint `json:"endpoint"`
}

// LoadFacts are the settings of the load, to run it again.
type LoadFacts struct {
	Rate         float64      `json:"rate"` // 0: a closed loop
	Arrival      Arrival      `json:"arrival,omitempty"`
	Concurrency  int          `json:"concurrency"` // 0: no limit
	Requests     int          `json:"requests"`
	Duration     float64      `json:"duration_s"`
	Warmup       int          `json:"warmup"`
	File         string       `json:"prompts,omitempty"`
	Prompt       Distribution `json:"prompt_tokens"`
	Output       Distribution `json:"output_tokens"`
	SharedPrefix int          `json:"shared_prefix"`
	Prefixes     int          `json:"prefixes"`
	IgnoreEOS    bool         `json:"ignore_eos"`
	Seed         uint64       `json:"seed"`
}

// Counts are numbers of requests. Those that were cancelled when the run was interrupted are
// neither finished nor failed, and in no other figure.
type Counts struct {
	Sent       int `json:"sent"`
	Finished   int `json:"finished"`
	Failed     int `json:"failed"`
	Cancelled  int `json:"cancelled"`
	MaxRunning int `json:"max_running"` // most at once
}

// Tokens are those of finished requests.
type Tokens struct {
	Prompt int  `json:"prompt"`
	Cached *int `json:"cached"` // of the prompts', found in a cache; nil if the server does not say
	Output int  `json:"output"`
	// ByServer is the number of requests whose tokens the server counted. For the others output
	// tokens are events with text, and prompt tokens unknown.
	ByServer int `json:"requests_counted_by_server"`
}

// Throughput is of finished requests.
type Throughput struct {
	Requests     float64 `json:"requests_per_s"`
	OutputTokens float64 `json:"output_tokens_per_s"`
	TotalTokens  float64 `json:"total_tokens_per_s"` // of prompts and answers
}

// Goodput is of requests that met every limit of an SLO.
type Goodput struct {
	SLO      SLO     `json:"slo"`
	Met      int     `json:"met"`
	Share    float64 `json:"share"` // of finished and failed ones
	Requests float64 `json:"requests_per_s"`
}

// ErrorCount is how often a kind of failure happened, with the words of the first.
type ErrorCount struct {
	Kind    string `json:"kind"`
	Count   int    `json:"count"`
	Example string `json:"example"`
}

// newReport makes a report of the records of a run that took as long as elapsed.
func newReport(
	t *target, records []Record, elapsed time.Duration, interrupted bool,
) *Report {
	slices.SortFunc(records, func(a, b Record) int { return cmp.Compare(a.Index, b.Index) })
	r := &Report{
		Target: Target{URL: t.root + "/v1", Model: t.model, Endpoint: t.cfg.Endpoint},
		Load:   loadFacts(t.cfg), Seconds: elapsed.Seconds(), Interrupted: interrupted,
		Records: records, Errors: []ErrorCount{},
	}
	r.count()
	r.time(t.cfg.Load.Rate > 0)
	if elapsed > 0 {
		r.Throughput = Throughput{
			Requests:     float64(r.Requests.Finished) / r.Seconds,
			OutputTokens: float64(r.Tokens.Output) / r.Seconds,
			TotalTokens:  float64(r.Tokens.Prompt+r.Tokens.Output) / r.Seconds,
		}
	}
	if t.cfg.SLO != (SLO{}) {
		r.Goodput = r.goodput(t.cfg.SLO)
	}
	r.Notes = r.notes(t)
	return r
}

func loadFacts(c *Config) LoadFacts {
	l, w := c.Load, c.Work
	f := LoadFacts{
		Rate: l.Rate, Concurrency: l.Concurrency, Requests: l.Requests, Duration: l.Duration.Seconds(),
		Warmup: l.Warmup, File: w.File, Prompt: w.Prompt, Output: w.Output,
		SharedPrefix: w.SharedPrefix, Prefixes: w.Prefixes, IgnoreEOS: c.Body.IgnoreEOS, Seed: w.Seed,
	}
	if l.Rate > 0 {
		f.Arrival = l.Arrival
	}
	return f
}

// count fills in numbers of requests, tokens and errors.
func (r *Report) count() {
	c := &r.Requests
	c.Sent, c.MaxRunning = len(r.Records), maxRunning(r.Records)
	for i := range r.Records {
		k := &r.Records[i]
		switch {
		case k.Gone:
			c.Cancelled++
			continue
		case k.Failure != nil:
			c.Failed++
			r.countError(k.Failure)
			continue
		}
		c.Finished++
		r.Tokens.Prompt += k.PromptTokens
		r.Tokens.Output += k.OutputTokens
		if k.Counted {
			r.Tokens.ByServer++
		}
		if k.CachedTokens != nil {
			if r.Tokens.Cached == nil {
				r.Tokens.Cached = new(int)
			}
			*r.Tokens.Cached += *k.CachedTokens
		}
	}
	slices.SortStableFunc(r.Errors, func(a, b ErrorCount) int { return b.Count - a.Count })
}

func (r *Report) countError(f *Failure) {
	for i := range r.Errors {
		if r.Errors[i].Kind == f.Kind {
			r.Errors[i].Count++
			return
		}
	}
	r.Errors = append(r.Errors, ErrorCount{Kind: f.Kind, Count: 1, Example: f.Message})
}

// time fills in the summaries.
func (r *Report) time(withRate bool) {
	var ttft, itl, tpot, e2e, late, prompts, outputs []float64
	for i := range r.Records {
		k := &r.Records[i]
		if withRate {
			late = append(late, milliseconds(k.Late))
		}
		if !k.Finished() {
			continue
		}
		if d, ok := k.TTFT(); ok {
			ttft = append(ttft, milliseconds(d))
		}
		if d, ok := k.TPOT(); ok {
			tpot = append(tpot, milliseconds(d))
		}
		itl = append(itl, k.Gaps()...)
		e2e = append(e2e, milliseconds(k.End))
		outputs = append(outputs, float64(k.OutputTokens))
		if k.Counted {
			prompts = append(prompts, float64(k.PromptTokens))
		}
	}
	r.TTFT, r.ITL, r.TPOT, r.E2E = summarize(ttft), summarize(itl), summarize(tpot), summarize(e2e)
	r.Late, r.PromptTokens, r.OutputTokens = summarize(late), summarize(prompts), summarize(outputs)
}

func (r *Report) goodput(slo SLO) *Goodput {
	g := &Goodput{SLO: slo}
	for i := range r.Records {
		if slo.meets(&r.Records[i]) {
			g.Met++
		}
	}
	if ended := r.Requests.Finished + r.Requests.Failed; ended > 0 {
		g.Share = float64(g.Met) / float64(ended)
	}
	if r.Seconds > 0 {
		g.Requests = float64(g.Met) / r.Seconds
	}
	return g
}
