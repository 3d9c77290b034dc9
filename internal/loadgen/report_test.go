package loadgen

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sample is a report of four requests: two are whole, of which the server counted one; one failed,
// one was cancelled.
func sample(t *testing.T) *Report {
	t.Helper()
	cached := 16
	whole := at(4, 100, 150, 250)
	whole.PromptTokens, whole.CachedTokens, whole.Wanted, whole.WantedOutput = 1030, &cached, 1024, 8
	events := at(2, 200, 300)
	events.Index, events.Sent, events.Counted = 1, 400*ms, false
	failed := Record{Index: 2, Sent: 500 * ms, End: 500 * ms, Failure: &Failure{"http 429", "too much"}}
	gone := at(9, 10)
	gone.Index, gone.Gone, gone.Sent = 3, true, 900*ms
	cfg := &Config{
		URL: "http://h:1", Load: Load{Rate: 2.5, Concurrency: 4, Requests: 5, Warmup: 1},
		Work: Work{SharedPrefix: 512, Prefixes: 2, Seed: 9}, Body: Body{IgnoreEOS: true},
		SLO: SLO{TTFT: 150 * ms},
	}
	cfg.setDefaults()
	target := &target{cfg: cfg, root: "http://h:1", model: "m", takes: optional{usage: true}}
	return newReport(target, []Record{gone, failed, events, whole}, time.Second, true)
}

const sampleTable = `server      http://h:1/v1, m, chat
load        2.5 requests/s, poisson, at most 4 at once, 5 requests, after 1 that do not count
asked for   prompts 128 behind one of 2 prefixes of 512, answers 128 in full; seed 9
requests    2 finished, 1 failed, 1 cancelled in 1.0 s; at most 2 at once
tokens      1,030 prompt (16 cached, 1.6 %), 6 output, counted as events where the server gave no counts

                                 MEAN       P50       P90       P99       MAX
time to first token, ms           150       150       190       199       200
between tokens, ms               83.3       100       100       100       100
per output token, ms             75.0      75.0      95.0      99.5       100
end to end, ms                    285       285       305       310       310
sent late, ms                    0.00      0.00      0.00      0.00      0.00
prompt, tokens                  1,030     1,030     1,030     1,030     1,030
answer, tokens                   3.00      3.00      3.80      3.98      4.00

throughput  2.00 requests/s, 6.00 output tokens/s, 1,036 tokens/s in all
goodput     33.3 % of requests, 1.00 requests/s, meet ttft:150ms
failed      1 × http 429: too much
note        interrupted: the figures are of what had finished
note        the server gave no token counts with 1 of 2 requests: their output tokens are events, their prompt tokens unknown
note        the server takes no min_tokens: ignore_eos was sent without
note        1 of 2 answers are shorter than asked for, in spite of ignore_eos
note        1 of 2 prompts have another length than was aimed at, by the server's count
`

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := sample(t).WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleTable, b.String()); diff != "" {
		t.Error(diff)
	}
}

// TestJSON: what a program reads has the names that docs/cli.md promises, and requests if asked.
func TestJSON(t *testing.T) {
	for _, raw := range []bool{false, true} {
		var b bytes.Buffer
		if err := sample(t).WriteJSON(&b, raw); err != nil {
			t.Fatal(err)
		}
		var r map[string]any
		if err := json.Unmarshal(b.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]any{
			"ttft_ms.p50": 150.0, "itl_ms.count": 3.0, "tpot_ms.max": 100.0, "e2e_ms.mean": 285.0,
			"late_ms.max": 0.0, "throughput.output_tokens_per_s": 6.0, "goodput.share": 1.0 / 3,
			"goodput.slo": "ttft:150ms", "tokens.cached": 16.0, "requests.max_running": 2.0,
			"load.prompt_tokens": "128", "target.model": "m", "interrupted": true, "seconds": 1.0,
		} {
			var v any = r
			for name := range strings.SplitSeq(path, ".") {
				v = v.(map[string]any)[name]
			}
			if v != want {
				t.Errorf("%s is %v, want %v", path, v, want)
			}
		}
		records, _ := r["records"].([]any)
		if raw != (len(records) == 4) {
			t.Fatalf("%d records", len(records))
		}
		if !raw {
			continue
		}
		first, second := records[0].(map[string]any), records[1].(map[string]any)
		if !cmp.Equal(first["gaps_ms"], []any{50.0, 100.0}) || first["ttft_ms"] != 100.0 || second["sent_ms"] != 400.0 {
			t.Errorf("records %v, %v", first, second)
		}
	}
}

// TestSeries: all tokens and all running time are in some interval, in the right ones.
func TestSeries(t *testing.T) {
	a := at(4, 100, 250) // two tokens to an event, whole after 260 ms
	b := at(1, 50)       // whole after 60 ms
	b.Sent = 240 * ms
	r := &Report{Seconds: 0.3, Records: []Record{a, b}}
	got := r.Series(200 * ms)
	want := []Point{
		{At: 100 * ms, Tokens: 2 / 0.2, Running: 1},
		{At: 250 * ms, Tokens: 3 / 0.1, Running: 0.6 + 0.6},
	}
	if len(got) != len(want) {
		t.Fatalf("%d points", len(got))
	}
	for i := range want {
		if got[i].At != want[i].At || math.Abs(got[i].Tokens-want[i].Tokens) > 1e-9 ||
			math.Abs(got[i].Running-want[i].Running) > 1e-9 {
			t.Errorf("point %d is %+v, want %+v", i, got[i], want[i])
		}
	}
	if most := maxRunning(r.Records); most != 2 {
		t.Errorf("%d at once, want 2", most)
	}
	if (&Report{}).Series(time.Second) != nil || r.Series(0) != nil || r.Series(1) != nil {
		t.Error("nothing, or too many intervals, have a series")
	}
}
