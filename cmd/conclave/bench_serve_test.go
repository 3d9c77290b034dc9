package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/conclave-serve/conclave/internal/loadgen"
)

// TestBenchServeConfig holds every flag to the setting that it is for.
func TestBenchServeConfig(t *testing.T) {
	c, err := parse(t, "bench", "serve", "--url", "http://h:1/v1", "--model", "m", "--api-key", "k,l",
		"--endpoint", "completions", "--rate", "2.5", "--arrival", "fixed", "--concurrency", "4",
		"--requests", "5", "--duration", "6s", "--warmup", "7", "--timeout", "8s",
		"--prompt-tokens", "uniform:9-10", "--output-tokens", "normal:11,12", "--shared-prefix", "13",
		"--prefixes", "14", "--seed", "15", "--ignore-eos", "--temperature", "0", "--send-seed",
		"--extra-body", `{"top_k":16,"x":null}`, "--slo", "itl:17ms", "--json-raw", "--plot", "run.svg")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Bench.Serve.config()
	if err != nil {
		t.Fatal(err)
	}
	lengths := func(text string) loadgen.Distribution {
		d, err := loadgen.ParseDistribution(text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var zero float64
	want := loadgen.Config{
		URL: "http://h:1/v1", Model: "m", APIKey: "k", Endpoint: loadgen.Completions,
		SLO: loadgen.SLO{ITL: 17 * time.Millisecond},
		Load: loadgen.Load{
			Rate: 2.5, Arrival: loadgen.Fixed, Concurrency: 4, Requests: 5, Duration: 6 * time.Second,
			Warmup: 7, Timeout: 8 * time.Second,
		},
		Work: loadgen.Work{
			Prompt: lengths("uniform:9-10"), Output: lengths("normal:11,12"), SharedPrefix: 13,
			Prefixes: 14, Seed: 15,
		},
		Body: loadgen.Body{IgnoreEOS: true, Temperature: &zero, SendSeed: true},
	}
	same := cmp.Options{
		cmpopts.IgnoreFields(loadgen.Body{}, "Extra"), cmpopts.EquateComparable(loadgen.Distribution{}),
	}
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Error(diff)
	}
	if extra := got.Body.Extra; len(extra) != 2 || string(extra["top_k"]) != "16" || string(extra["x"]) != "null" {
		t.Errorf("extra body %s", extra)
	}
}

func TestBenchServeRefuses(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--url h:8080", "such as http://"},
		{"--rate=-1", "rate -1"},
		{"--concurrency=-1", "concurrency -1"},
		{"--prompt-tokens 0", "lengths are 1 to"},
		{"--output-tokens normal:x", "want two numbers"},
		{"--slo fast", "want ttft, itl, tpot or e2e"},
		{"--extra-body [1]", "--extra-body: want a JSON object"},
		{`--extra-body {"stream":false}`, `"stream" is not for it to set`},
		{"--plot run.pdf", "ends with .svg or .png"},
		{"--plot nowhere/run.svg", "no such file"},
		{"--prompts nowhere.jsonl", "nowhere.jsonl"},
		{"--endpoint responses", "must be one of"},
		{"--arrival bursty", "must be one of"},
	} {
		_, err := parse(t, append([]string{"bench", "serve"}, strings.Fields(c.args)...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.args, err, c.want)
		}
	}
}
