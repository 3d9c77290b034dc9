package loadgen

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

// TestTimes knows how long everything takes: the clock is the bubble's.
func TestTimes(t *testing.T) {
	for _, endpoint := range []Endpoint{Chat, Completions} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{first: 200 * ms, gap: 30 * ms, cached: 5}
			r := f.run(t, Config{
				Endpoint: endpoint, Load: Load{Concurrency: 2, Requests: 4},
				Work: Work{Prompt: Constant(40), Output: Constant(11)}, SLO: SLO{TTFT: 200 * ms, ITL: 30 * ms},
			})
			same := func(count int, v float64) *Summary {
				return &Summary{Count: count, Mean: v, Min: v, P50: v, P90: v, P99: v, Max: v}
			}
			for _, c := range []struct {
				name string
				got  *Summary
				want *Summary
			}{
				{"ttft", r.TTFT, same(4, 200)}, {"itl", r.ITL, same(40, 30)}, {"tpot", r.TPOT, same(4, 30)},
				{"e2e", r.E2E, same(4, 500)}, {"prompt", r.PromptTokens, same(4, 40)},
				{"output", r.OutputTokens, same(4, 11)}, {"late", r.Late, nil},
			} {
				if diff := cmp.Diff(c.want, c.got); diff != "" {
					t.Errorf("%s %s: %s", endpoint, c.name, diff)
				}
			}
			if r.Seconds != 1 || r.Requests != (Counts{Sent: 4, Finished: 4, MaxRunning: 2}) {
				t.Errorf("%v s, %+v", r.Seconds, r.Requests)
			}
			if r.Throughput != (Throughput{Requests: 4, OutputTokens: 44, TotalTokens: 204}) {
				t.Errorf("throughput %+v", r.Throughput)
			}
			if r.Tokens.Prompt != 160 || *r.Tokens.Cached != 20 || r.Tokens.Output != 44 || r.Tokens.ByServer != 4 {
				t.Errorf("tokens %+v", r.Tokens)
			}
			if r.Goodput.Met != 4 || r.Goodput.Share != 1 || r.Goodput.Requests != 4 {
				t.Errorf("goodput %+v", r.Goodput)
			}
			if len(r.Notes) > 0 || r.Interrupted {
				t.Errorf("notes %q", r.Notes)
			}
		})
	}
}

// TestArrivals: requests at a rate are sent when they are due, whatever runs; with a cap those that
// are due wait, and are late.
func TestArrivals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{first: time.Second}
		r := f.run(t, Config{Load: Load{Rate: 10, Arrival: Fixed, Requests: 21}, Work: Work{Output: Constant(2)}})
		for i, k := range r.Records {
			if want := time.Duration(i) * 100 * ms; k.Sent != want || k.Late != 0 {
				t.Errorf("request %d was sent at %v, late by %v; want %v", i, k.Sent, k.Late, want)
			}
		}
		if r.Requests.MaxRunning != 10 || r.Seconds != 3 {
			t.Errorf("%d at once, %v s", r.Requests.MaxRunning, r.Seconds)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := &fake{first: time.Second}
		r := f.run(t, Config{
			Load: Load{Rate: 10, Arrival: Fixed, Concurrency: 1, Requests: 3}, Work: Work{Output: Constant(2)},
		})
		if f.most != 1 || r.Late.Max != 1800 || r.TTFT.Max != 1000 {
			t.Errorf("%d at once, late %+v, ttft %+v", f.most, r.Late, r.TTFT)
		}
	})
}

// TestDuration: nothing is sent when the time is over, and what was sent is waited for.
func TestDuration(t *testing.T) {
	for _, c := range []struct {
		load Load
		sent int
		ends float64
	}{
		{Load{Concurrency: 2, Duration: 2500 * ms}, 6, 3},
		{Load{Concurrency: 2, Duration: 2500 * ms, Requests: 3}, 3, 2},
		{Load{Rate: 4, Arrival: Fixed, Duration: 900 * ms}, 4, 1.75},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{first: time.Second}
			r := f.run(t, Config{Load: c.load, Work: Work{Output: Constant(2)}})
			if r.Requests.Sent != c.sent || r.Requests.Finished != c.sent || r.Seconds != c.ends {
				t.Errorf("%+v: %+v in %v s", c.load, r.Requests, r.Seconds)
			}
		})
	}
}

// TestWarmup: requests before those that count are in no figure, and ask something else.
func TestWarmup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{first: 100 * ms}
		var warm, counted int
		r := f.run(t, Config{
			Load: Load{Requests: 3, Warmup: 2}, Work: Work{Output: Constant(4)},
			Progress: func(p Progress) {
				if p.Warmup {
					warm = max(warm, p.Finished)
				} else {
					counted = max(counted, p.Finished)
				}
			},
		})
		if len(f.bodies) != 5 || r.Requests.Sent != 3 || len(r.Records) != 3 {
			t.Errorf("%d requests, of which %d count", len(f.bodies), r.Requests.Sent)
		}
		if warm != 2 || counted != 3 {
			t.Errorf("progress: %d before, %d that count", warm, counted)
		}
		seen := map[string]bool{}
		for _, b := range f.bodies {
			seen[promptOf(b)] = true
		}
		if len(seen) != 5 {
			t.Errorf("%d different prompts in 5 requests", len(seen))
		}
	})
}

// TestInterrupt: a run whose context ends reports what had finished.
func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{first: time.Second}
		ctx, cancel := context.WithTimeout(t.Context(), 4500*ms) // of which probes take 2 s
		defer cancel()
		r, err := Run(ctx, Config{
			URL: "http://fake", Transport: serve(t, f),
			Load: Load{Concurrency: 3, Requests: 100}, Work: Work{Output: Constant(2)},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := Counts{Sent: 9, Finished: 6, Cancelled: 3, MaxRunning: 3}
		if !r.Interrupted || r.Requests != want || r.Seconds != 2.5 || r.TTFT.Count != 6 {
			t.Errorf("interrupted %v: %+v in %v s, %+v", r.Interrupted, r.Requests, r.Seconds, r.TTFT)
		}
		if len(r.Errors) > 0 || !strings.Contains(r.Notes[0], "interrupted") {
			t.Errorf("errors %v, notes %q", r.Errors, r.Notes)
		}
	})
}

// TestFailures: each is counted by its kind, with the words of the first.
func TestFailures(t *testing.T) {
	answers := []func(w http.ResponseWriter, r *http.Request){
		func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"error":{"message":"too much","code":"queue_full"}}`)
		},
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			send(w, `{"choices":[{"delta":{"content":"a"}}]}`)
			send(w, `{"error":{"message":"worker w2 is lost"}}`)
		},
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			send(w, `{"choices":[{"delta":{"content":"a"}}]}`)
		},
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"choices":[]}`) },
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			send(w, `hello`)
		},
		func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		var asked atomic.Int64
		f.answer = func(w http.ResponseWriter, r *http.Request, _ map[string]any) bool {
			n := int(asked.Add(1))
			if n > len(answers) {
				return false
			}
			answers[n-1](w, r)
			return true
		}
		r := f.run(t, Config{
			Load: Load{Requests: 8, Timeout: 3 * time.Second}, Work: Work{Output: Constant(2)},
			SLO: SLO{E2E: time.Second},
		})
		want := []ErrorCount{
			{"stream", 2, "worker w2 is lost"},
			{"answer", 2, `the answer is "text/plain; charset=utf-8", not a stream of events`},
			{"http 429", 1, "too much"},
			{"timeout", 1, "no whole answer within 3s"},
			{"connection", 1, `Post "http://fake/v1/chat/completions": EOF`},
		}
		if diff := cmp.Diff(want, r.Errors); diff != "" {
			t.Error(diff)
		}
		if r.Requests.Failed != 7 || r.Requests.Finished != 1 || r.Goodput.Met != 1 || r.Goodput.Share != 1.0/8 {
			t.Errorf("%+v, %+v", r.Requests, r.Goodput)
		}
	})
}

// TestEndings: an answer may end without [DONE], and a body may go on after it.
func TestEndings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		n := 0
		f.answer = func(w http.ResponseWriter, r *http.Request, _ map[string]any) bool {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			send(w, `{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}`)
			time.Sleep(50 * ms) // the bubble's clock
			send(w, `{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}`)
			if n++; n == 2 {
				send(w, "[DONE]")
				<-r.Context().Done()
			}
			return true
		}
		r := f.run(t, Config{Load: Load{Requests: 2}, Work: Work{Output: Constant(2)}})
		if r.Requests.Finished != 2 || r.E2E.Min != 50 || r.E2E.Max != 50 {
			t.Errorf("%+v, %+v, %v", r.Requests, r.E2E, r.Errors)
		}
	})
}

// TestWithoutUsage: where the server does not count, events are tokens, and the report says so.
func TestWithoutUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{gap: 10 * ms, noUsage: true, noTokenize: true}
		r := f.run(t, Config{Load: Load{Requests: 2}, Work: Work{Output: Constant(6)}})
		if r.Tokens.Output != 12 || r.Tokens.ByServer != 0 || r.TPOT.Mean != 10 || r.PromptTokens != nil {
			t.Errorf("%+v, tpot %+v", r.Tokens, r.TPOT)
		}
		if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "their output tokens are events") {
			t.Errorf("notes %q", r.Notes)
		}
	})
}

// TestFieldsThatAreRefused: what the load can do without is left out, and the report says so.
func TestFieldsThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{refuse: func(body map[string]any) string {
			for _, field := range []string{"stream_options", "min_tokens"} {
				if body[field] != nil {
					return fmt.Sprintf(`{"error":{"message":"Unknown parameter: '%s'."}}`, field)
				}
			}
			return ""
		}}
		r := f.run(t, Config{
			Load: Load{Requests: 2}, Work: Work{Output: Constant(6)}, Body: Body{IgnoreEOS: true},
		})
		if r.Requests.Finished != 2 || f.bodies[0]["ignore_eos"] != true {
			t.Errorf("%+v, %v, sent %v", r.Requests, r.Errors, f.bodies[0])
		}
		if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "no stream_options") ||
			!strings.Contains(notes, "no min_tokens") {
			t.Errorf("notes %q", r.Notes)
		}
	})
}

// TestRefusedBeforeTheLoad: errors that no request could escape come before any load.
func TestRefusedBeforeTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{key: "secret"}
		transport := serve(t, f)
		ask := func(change func(*Config)) error {
			cfg := Config{URL: "http://fake/v1/", Transport: transport, APIKey: "secret"}
			change(&cfg)
			_, err := Run(t.Context(), cfg)
			return err
		}
		for _, c := range []struct {
			name   string
			change func(*Config)
			want   string
		}{
			{"no key", func(c *Config) { c.APIKey = "" }, "401 Unauthorized: Incorrect API key provided.; give its key by --api-key"},
			{"no such model", func(c *Config) { c.Model = "x" }, "http 404: no model x; it lists fake, other"},
			{"a refused field", func(c *Config) {
				f.refuse = func(map[string]any) string { return `{"error":{"message":"bad top_k"}}` }
			}, "http 400: bad top_k"},
			{"no server", func(c *Config) { c.URL, c.Transport = "http://127.0.0.1:1", refusing{} }, "refused; is it running?"},
			{"a wrong configuration", func(c *Config) { c.URL, c.Load.Rate = "fake", -1 }, "rate -1: want 0"},
			{"no file", func(c *Config) { c.Work.File = "nowhere.jsonl" }, "nowhere.jsonl"},
		} {
			if err := ask(c.change); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want %q", c.name, err, c.want)
			}
		}
		if len(f.bodies) > 0 {
			t.Errorf("%d requests were sent", len(f.bodies))
		}
	})
}

type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("connection refused")
}

// TestBodies: what is sent is what the configuration says, and the same again with the same seed.
func TestBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cold := 0.5
		cfg := Config{
			Load: Load{Requests: 3},
			Work: Work{Prompt: Constant(50), Output: Constant(9), Seed: 3, SharedPrefix: 30, Prefixes: 2},
			Body: Body{IgnoreEOS: true, Temperature: &cold, SendSeed: true, Extra: map[string]json.RawMessage{
				"top_k": json.RawMessage("5"), "temperature": json.RawMessage("0.25"), "min_tokens": json.RawMessage("null"),
			}},
		}
		first, second, other := &fake{}, &fake{}, &fake{}
		r := first.run(t, cfg)
		second.run(t, cfg)
		cfg.Work.Seed = 4
		other.run(t, cfg)
		if diff := cmp.Diff(first.bodies, second.bodies); diff != "" {
			t.Error(diff)
		}
		if cmp.Equal(first.bodies, other.bodies) {
			t.Error("another seed asks the same")
		}
		if r.PromptTokens.Min != 80 || r.PromptTokens.Max != 80 {
			t.Errorf("prompts of %+v tokens, want 80", r.PromptTokens)
		}
		b := first.bodies[0]
		seed, ok := b["seed"].(float64)
		if !ok || seed == first.bodies[1]["seed"] {
			t.Errorf("seeds %v, %v", seed, first.bodies[1]["seed"])
		}
		delete(b, "messages")
		delete(b, "seed")
		want := map[string]any{
			"model": "fake", "stream": true, "max_tokens": 9.0, "ignore_eos": true, "temperature": 0.25,
			"top_k": 5.0, "stream_options": map[string]any{"include_usage": true},
		}
		if diff := cmp.Diff(want, b); diff != "" {
			t.Error(diff)
		}
	})
}

// TestFile: prompts from a file are asked in order, over and over; warm-up takes the first.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prompts.jsonl")
	lines := `{"prompt":"one"}

{"messages":[{"role":"system","content":"be"},{"role":"user","content":"two"}],"output_tokens":7}
{"prompt":"three"}
`
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.run(t, Config{
			Load: Load{Requests: 4, Warmup: 1}, Work: Work{File: path, Output: Constant(3)},
		})
		var got []string
		for _, b := range f.bodies {
			got = append(got, fmt.Sprint(promptOf(b), b["max_tokens"]))
		}
		if want := []string{"one3", "be\ntwo7", "three3", "one3", "be\ntwo7"}; !slices.Equal(got, want) {
			t.Errorf("asked %q, want %q", got, want)
		}
	})
}
