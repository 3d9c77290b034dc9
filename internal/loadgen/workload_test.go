package loadgen

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestAuthorIsExact: whatever words cost, a text has the tokens that were wanted if any words have.
func TestAuthorIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		costs := rapid.SliceOfN(rapid.IntRange(1, 12), 1, 40).Draw(t, "costs")
		tokens := rapid.IntRange(1, 400).Draw(t, "tokens")
		a := &author{}
		for range costs {
			a.words = append(a.words, "w"+strings.Repeat("x", len(a.words)))
		}
		a.price(costs)
		text := a.text(stream(rapid.Uint64().Draw(t, "seed"), ofRequests, 0), tokens)
		got := a.cost(text)
		if got > tokens {
			t.Fatalf("a text of %d tokens, %d were wanted", got, tokens)
		}
		if can := canReach(costs, tokens); can != (got == tokens) {
			t.Fatalf("a text of %d tokens; that %d can be reached is %v", got, tokens, can)
		}
	})
}

// canReach says whether some of the costs add up to a number.
func canReach(costs []int, n int) bool {
	reachable := make([]bool, n+1)
	reachable[0] = true
	for i := range reachable {
		for _, c := range costs {
			reachable[i] = reachable[i] || c <= i && reachable[i-c]
		}
	}
	return reachable[n]
}

// TestJobs: a request depends on its index and the seed alone, and its parts have their lengths.
func TestJobs(t *testing.T) {
	cfg := &Config{Work: Work{
		Prompt: Constant(60), Output: mustParse(t, "uniform:5-9"), SharedPrefix: 40, Prefixes: 3, Seed: 11,
	}}
	a := &author{words: wordList(), overhead: around}
	costs := make([]int, len(a.words))
	for i, w := range a.words {
		costs[i] = fakeTokens(w)
	}
	a.price(costs)
	w, again := newWorkload(cfg, a, nil), newWorkload(cfg, a, nil)
	used := map[string]int{}
	for i := 19; i >= 0; i-- {
		j := w.measured(i)
		if diff := cmp.Diff(j, again.measured(i), cmp.AllowUnexported(job{})); diff != "" {
			t.Fatal(diff)
		}
		if total := around + a.cost(strings.TrimPrefix(j.prompt, opener)); total != 100 || j.wanted != 100 {
			t.Errorf("request %d has %d tokens and wanted %d, want 100", i, total, j.wanted)
		}
		if j.output < 5 || j.output > 9 {
			t.Errorf("request %d: an answer of %d", i, j.output)
		}
		for k, p := range w.prefixes {
			if strings.HasPrefix(j.prompt, opener+p+" ") {
				used[string(rune('a'+k))]++
			}
		}
	}
	if len(used) != 3 || used["a"]+used["b"]+used["c"] != 20 {
		t.Errorf("prefixes are used %v times", used)
	}
}

func mustParse(t *testing.T, text string) Distribution {
	t.Helper()
	d, err := ParseDistribution(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestCountTokens: servers say in different forms how many tokens a text is.
func TestCountTokens(t *testing.T) {
	for answer, want := range map[string]int{
		`{"count":3,"max_model_len":64,"tokens":[1,2,3]}`: 3, // Conclave, vLLM
		`{"tokens":[5,6]}`:                  2, // llama.cpp
		`{"tokens":[{"id":5,"piece":"a"}]}`: 1,
		`{"count":0,"tokens":[]}`:           0,
		`{"length":4}`:                      -1,
		`[1,2]`:                             -1,
		`not found`:                         -1,
	} {
		var asked map[string]any
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewDecoder(r.Body).Decode(&asked) // compared below
			_, _ = io.WriteString(w, answer)           // the client may be gone
		}))
		cfg := &Config{URL: server.URL}
		target := newTarget(cfg)
		got, err := target.countTokens(t.Context(), "a text")
		target.close()
		server.Close()
		if want >= 0 && (err != nil || got != want) || want < 0 && !errors.Is(err, errNoTokenizer) {
			t.Errorf("%s: %d, %v; want %d", answer, got, err, want)
		}
		if asked["prompt"] != "a text" || asked["content"] != "a text" || asked["add_special_tokens"] != false {
			t.Errorf("asked %v", asked)
		}
	}
}

// TestWords: all differ, and each is one word of plain letters.
func TestWords(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range wordList() {
		if seen[w] || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("%q is there twice, or no word", w)
		}
		seen[w] = true
	}
	if len(seen) < 400 {
		t.Errorf("%d words", len(seen))
	}
}

func TestEntries(t *testing.T) {
	for _, c := range []struct {
		name, lines string
		endpoint    Endpoint
		want        string // in the error; "": none
	}{
		{"a prompt", `{"prompt":"a"}`, Completions, ""},
		{"a conversation", `{"messages":[{"role":"user","content":"a"}],"output_tokens":3,"id":7}`, Chat, ""},
		{"an empty prompt", `{"prompt":""}`, Chat, ""},
		{"a conversation as a text", `{"prompt":"a"}` + "\n\n" + `{"messages":[]}`, Completions, "line 3"},
		{"both", `{"prompt":"a","messages":[]}`, Chat, "line 1: want either"},
		{"neither", `{"text":"a"}`, Chat, "want either"},
		{"null", `{"prompt":null,"messages":null}`, Chat, "want either"},
		{"no list", `{"messages":"a"}`, Chat, "no list"},
		{"a negative length", `{"prompt":"a","output_tokens":-1}`, Chat, "output_tokens is -1"},
		{"no JSON", "hello", Chat, "line 1: invalid character"},
		{"an array", `["a"]`, Chat, "line 1"},
		{"nothing", "\n\n", Chat, "no prompts"},
	} {
		_, err := parseEntries(strings.NewReader(c.lines), c.endpoint)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Config{URL: "https://host:1/v1"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.URL = "host:8080" }, "such as http://"},
		{func(c *Config) { c.Endpoint = "responses" }, "want chat or completions"},
		{func(c *Config) { c.Load.Rate = 1e9 }, "rate 1e+09"},
		{func(c *Config) { c.Load.Arrival = "bursty" }, "want fixed or poisson"},
		{func(c *Config) { c.Load.Concurrency = -1 }, "concurrency -1"},
		{func(c *Config) { c.Load.Requests = 1 << 30 }, "requests 1073741824"},
		{func(c *Config) { c.Load.Warmup = -2 }, "warmup -2"},
		{func(c *Config) { c.Load.Duration = -1 }, "duration -1ns"},
		{func(c *Config) { c.Load.Timeout = -1 }, "timeout -1ns"},
		{func(c *Config) { c.Work.Prefixes = 1 << 20 }, "prefixes 1048576"},
		{func(c *Config) { c.Work.SharedPrefix = -1 }, "shared prefix -1"},
		{func(c *Config) { c.Work.File, c.Work.SharedPrefix = "f", 5 }, "no shared prefix"},
		{func(c *Config) { c.Body.Extra = map[string]json.RawMessage{"stream": json.RawMessage("false")} }, `"stream" is not`},
		{func(c *Config) { c.Body.Extra = map[string]json.RawMessage{"a": json.RawMessage("{")} }, `"a" is no JSON`},
	} {
		bad := good
		c.change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}
