package loadgen

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Endpoint is what is asked: conversations or texts.
type Endpoint string

// Endpoints.
const (
	Chat        Endpoint = "chat"        // /v1/chat/completions
	Completions Endpoint = "completions" // /v1/completions
)

// Config is a run. Zero values are the defaults that the fields name.
type Config struct {
	URL      string   // of the server, with or without /v1
	Model    string   // default: the first that the server lists
	APIKey   string   // default: none
	Endpoint Endpoint // default: Chat

	Load Load
	Work Work
	Body Body
	SLO  SLO // default: none, and no goodput

	// Transport carries the requests; nil: one that keeps a connection for each request in flight
	// and uses no proxy.
	Transport http.RoundTripper

	// Progress is told about the run while it goes on, from one goroutine at a time; nil: nobody.
	Progress func(Progress)
}

// Load is when requests are sent. With a Rate they are due at times that do not depend on the
// server (an open loop), and Concurrency caps how many run at once: what is due waits. Without one
// there are always Concurrency of them (a closed loop).
type Load struct {
	Rate        float64       // requests per second; 0: a closed loop
	Arrival     Arrival       // default: Poisson
	Concurrency int           // 0: 1 in a closed loop, maxInFlight in an open one
	Requests    int           // 0: no limit if there is a Duration, else 100
	Duration    time.Duration // after which nothing more is sent; 0: no limit
	Warmup      int           // requests before those that count, Concurrency at a time
	Timeout     time.Duration // of one request; 0: ten minutes
}

// Work is what is asked.
type Work struct {
	File         string       // JSON lines of prompts, in order, over and over; "": synthetic ones
	Prompt       Distribution // tokens of a synthetic prompt; default: 128
	Output       Distribution // tokens of an answer; default: 128
	SharedPrefix int          // tokens that come before those of Prompt, the same in many prompts
	Prefixes     int          // how many such prefixes there are; default: 1
	Seed         uint64
}

// Body is what requests say besides prompt and length.
type Body struct {
	IgnoreEOS   bool     // answers are as long as asked for: ignore_eos, and min_tokens if taken
	Temperature *float64 // nil: the server's
	SendSeed    bool     // each request has a sampling seed of its own, drawn from Work.Seed
	Extra       map[string]json.RawMessage
}

// Progress is how far a run is.
type Progress struct {
	Warmup       bool // these are the requests before those that count
	Requests     int  // how many there will be; 0: as many as the time allows
	Sent         int
	Finished     int
	Failed       int
	OutputTokens int
	Elapsed      time.Duration
}

// Limits of a run, all in memory at its end.
const (
	maxRequests    = 1_000_000
	maxConcurrency = 10_000 // more need more file descriptors and ports than systems give
	maxPrefixes    = 10_000
	maxInFlight    = maxConcurrency
)

// Defaults of a run.
const (
	defaultRequests = 100
	defaultTokens   = 128
	defaultTimeout  = 10 * time.Minute
)

func (c *Config) setDefaults() {
	l, w := &c.Load, &c.Work
	setDefault(&c.Endpoint, Chat)
	setDefault(&l.Arrival, Poisson)
	setDefault(&l.Timeout, defaultTimeout)
	setDefault(&w.Prompt, Constant(defaultTokens))
	setDefault(&w.Output, Constant(defaultTokens))
	setDefault(&w.Prefixes, 1)
	if l.Requests == 0 && l.Duration == 0 {
		l.Requests = defaultRequests
	}
	if l.Concurrency == 0 && l.Rate == 0 {
		l.Concurrency = 1
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate says everything that is wrong with the configuration.
func (c Config) Validate() error {
	c.setDefaults()
	l, w := c.Load, c.Work
	var problems []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	u, err := url.Parse(c.URL)
	check(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "",
		"url %q: want an address such as http://127.0.0.1:8080", c.URL)
	check(c.Endpoint == Chat || c.Endpoint == Completions,
		"endpoint %q: want chat or completions", c.Endpoint)
	check(l.Rate >= 0 && l.Rate <= 1e6, "rate %v: want 0 to a million requests a second", l.Rate)
	check(l.Arrival == Fixed || l.Arrival == Poisson, "arrival %q: want fixed or poisson", l.Arrival)
	within := func(name string, n, most int) {
		check(n >= 0 && n <= most, "%s %d: want 0 to %d", name, n, most)
	}
	within("concurrency", l.Concurrency, maxConcurrency)
	within("requests", l.Requests, maxRequests)
	within("warmup", l.Warmup, maxRequests)
	within("shared prefix", w.SharedPrefix, maxLength)
	within("prefixes", w.Prefixes, maxPrefixes)
	check(l.Duration >= 0, "duration %v: want 0 or more", l.Duration)
	check(l.Timeout >= 0, "timeout %v: want 0 or more", l.Timeout)
	check(w.File == "" || w.SharedPrefix == 0, "a file of prompts has no shared prefix added")
	for name, value := range c.Body.Extra {
		check(name != "stream" && name != "model", "extra body: %q is not for it to set", name)
		check(json.Valid(value), "extra body: %q is no JSON", name)
	}
	return errors.Join(problems...)
}
