//go:build linux

package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/internal/demo"
	"github.com/conclave-serve/conclave/internal/tokenizer"
)

// localCluster is a running `conclave up`.
type localCluster struct {
	*process
	api
	box  *sandbox
	addr string
}

// startUp starts `conclave up` on a free port and waits until it serves.
func startUp(t *testing.T, args ...string) *localCluster {
	t.Helper()
	return upOn(t, newSandbox(t), freeAddr(t), args...)
}

func upOn(t *testing.T, box *sandbox, addr string, args ...string) *localCluster {
	t.Helper()
	p := box.start(t, append([]string{"up", "--listen", addr}, args...)...)
	p.awaitText(t, p.stdout, "Ctrl-C stops it.")
	return &localCluster{process: p, api: api{"http://" + addr}, box: box, addr: addr}
}

// coordinator and worker return the pids of the children.
func (c *localCluster) coordinator() int { return c.box.find("coordinator", "coordinator-1") }
func (c *localCluster) worker(n int) int { return c.box.find("worker", fmt.Sprintf("worker-%d", n)) }

// serveLimit is far above the ten seconds that a user may expect, because the
// machine may be busy with other tests.
const serveLimit = 30 * time.Second

func TestUp(t *testing.T) {
	t.Parallel()
	conclaveBinary(t)
	c := startUp(t)
	answer := post[chatAnswer](t, c.api, "/v1/chat/completions", chatBody("What is 17 + 25?", ""))
	took := time.Since(c.started)
	t.Logf("%.2f s from the start of the binary to an answer", took.Seconds())
	if took > serveLimit {
		t.Errorf("more than %v", serveLimit)
	}
	mustContain(t, "the answer", answer.Choices[0].Message.Content, "42")
	if answer.Choices[0].FinishReason != "stop" {
		t.Errorf("finish_reason %q", answer.Choices[0].FinishReason)
	}

	t.Run("greeting", func(t *testing.T) { testGreeting(t, c) })
	t.Run("models", func(t *testing.T) {
		_, body, err := c.send(t.Context(), http.MethodGet, "/v1/models", "")
		if err != nil {
			t.Fatal(err)
		}
		mustContain(t, "/v1/models", body, `"object":"list"`, demo.Name)
	})
	t.Run("chat stream", func(t *testing.T) { testChatStream(t, c.api) })
	t.Run("completions", func(t *testing.T) { testCompletions(t, c) })
	t.Run("errors", func(t *testing.T) { testErrors(t, c.api) })
	t.Run("status", func(t *testing.T) { testStatus(t, c) })
	t.Run("metrics", func(t *testing.T) { testMetrics(t, c.api) })
	t.Run("chat command", func(t *testing.T) { testChatCommand(t, c) })
	t.Run("second on the same port", func(t *testing.T) { testSecondUp(t, c) })
}

type chatAnswer struct {
	Choices []struct {
		Message struct {
			Content   string
			Reasoning string `json:"reasoning_content"`
		}
		FinishReason string `json:"finish_reason"`
	}
	Usage usage
}

// curlLine is the command that `up` offers for copying.
var curlLine = regexp.MustCompile(`curl (\S+) -H 'Content-Type: application/json' \\\n\s+-d '([^']+)'`)

func testGreeting(t *testing.T, c *localCluster) {
	found := curlLine.FindStringSubmatch(c.stdout.String())
	if found == nil {
		t.Fatalf("no curl line in:\n%s", c.stdout)
	}
	if found[1] != c.url+"/v1/chat/completions" {
		t.Errorf("the curl line goes to %s, the API is at %s", found[1], c.url)
	}
	answer := post[chatAnswer](t, c.api, "/v1/chat/completions", found[2])
	if answer.Choices[0].Message.Content == "" {
		t.Error("the curl line gets an empty answer")
	}
	mustContain(t, "the greeting", c.stdout.String(),
		"Conclave serves "+demo.Name+" at "+c.url, "conclave chat --url "+c.url, "conclave status --url "+c.url)
}

// testChatStream requires that a stream says what the plain answer says.
func testChatStream(t *testing.T, a api) {
	const question = "What is the capital of France?"
	plain := post[chatAnswer](t, a, "/v1/chat/completions", chatBody(question, ""))
	resp, err := a.do(t.Context(), http.MethodPost, "/v1/chat/completions",
		chatBody(question, `,"stream":true,"stream_options":{"include_usage":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Errorf("content type %q", got)
	}
	var content, reasoning, finish string
	var counted *usage
	err = readStream(resp.Body, func(e event) {
		for _, choice := range e.Choices {
			content += choice.Delta.Content
			reasoning += choice.Delta.Reasoning
			finish += choice.FinishReason
		}
		if e.Usage != nil {
			counted = e.Usage
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := plain.Choices[0]
	if content != want.Message.Content || reasoning != want.Message.Reasoning || finish != want.FinishReason {
		t.Errorf("streamed %q, %q, %q, plain %+v", reasoning, content, finish, want)
	}
	mustContain(t, "the answer", content, "Paris")
	if counted == nil || *counted != plain.Usage {
		t.Errorf("streamed usage %+v, plain %+v", counted, plain.Usage)
	}
}

type textAnswer struct {
	Choices []struct {
		Text     string
		Logprobs struct {
			Tokens        []string
			TokenLogprobs []*float64 `json:"token_logprobs"`
			TextOffset    []int      `json:"text_offset"`
		}
	}
	Usage usage
}

func testCompletions(t *testing.T, c *localCluster) {
	const prompt = "Once upon a time"
	tok, err := tokenizer.Load(c.unpacked(t) + "/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	ids := tok.Encode(prompt)
	asIDs, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	const more = `,"max_tokens":24,"logprobs":3`
	quoted := fmt.Sprintf("%q", prompt)
	text := c.post(t, "/v1/completions", textBody(quoted, more))
	if got := c.post(t, "/v1/completions", textBody(string(asIDs), more)); scrub(got) != scrub(text) {
		t.Errorf("prompt as ids:  %s\nprompt as text: %s", got, text)
	}

	plain := post[textAnswer](t, c.api, "/v1/completions", textBody(quoted, more))
	echoed := post[textAnswer](t, c.api, "/v1/completions", textBody(quoted, more+`,"echo":true`))
	if want := prompt + plain.Choices[0].Text; echoed.Choices[0].Text != want {
		t.Errorf("echo gives %q, want %q", echoed.Choices[0].Text, want)
	}
	if n := plain.Usage.Prompt; n != len(ids) {
		t.Errorf("usage counts %d tokens in the prompt, want %d", n, len(ids))
	}
	for name, a := range map[string]textAnswer{"plain": plain, "echoed": echoed} {
		lp := a.Choices[0].Logprobs
		if got := strings.Join(lp.Tokens, ""); got != a.Choices[0].Text {
			t.Errorf("%s: tokens say %q, text %q", name, got, a.Choices[0].Text)
		}
		if len(lp.TokenLogprobs) != len(lp.Tokens) || len(lp.TextOffset) != len(lp.Tokens) {
			t.Fatalf("%s: %d tokens, %d logprobs, %d offsets", name, len(lp.Tokens), len(lp.TokenLogprobs), len(lp.TextOffset))
		}
		for i, p := range lp.TokenLogprobs {
			if first := name == "echoed" && i == 0; (p == nil) != first || p != nil && *p > 0 {
				t.Errorf("%s: logprob %d is %v", name, i, p)
			}
		}
	}
	// The continuation of an echoed prompt is scored as without echo.
	n := len(plain.Choices[0].Logprobs.Tokens)
	tail := echoed.Choices[0].Logprobs.TokenLogprobs[len(ids):]
	same := func(a, b *float64) bool { return *a == *b }
	if len(tail) != n || !slices.EqualFunc(tail, plain.Choices[0].Logprobs.TokenLogprobs, same) {
		t.Errorf("echo changed the logprobs of the continuation")
	}
}

// unpacked is the directory of the demo model that the cluster serves.
func (c *localCluster) unpacked(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(c.box.cache, "conclave", "models", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("unpacked models: %v, %v", found, err)
	}
	return found[0]
}

func testErrors(t *testing.T, a api) {
	for _, tt := range []struct {
		body   string
		status int
		says   string
	}{
		{`{"model":"nobody","messages":[{"role":"user","content":"x"}]}`, http.StatusNotFound, "nobody"},
		{`{"model":`, http.StatusBadRequest, "JSON"},
		{chatBody("x", `,"max_tokens":-1`), http.StatusBadRequest, "max_tokens"},
	} {
		status, body, err := a.send(t.Context(), http.MethodPost, "/v1/chat/completions", tt.body)
		if err != nil || status != tt.status {
			t.Errorf("%s: status %d, %v", tt.body, status, err)
		}
		mustContain(t, "the error", body, `{"error":{"message":`, tt.says)
	}
}

func testStatus(t *testing.T, c *localCluster) {
	code, stdout, stderr := c.box.run(t, "status", "--url", c.url)
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	mustContain(t, "status", stdout, demo.Name, "state      ready", "registry   connected", "epoch 1, settled",
		"coordinator-1", "worker-1", "worker-2", "replicas   2 of each expert", "layers 0-5     0-15")
	for _, line := range strings.Split(stdout, "\n") {
		if strings.TrimRight(line, " ") != line {
			t.Errorf("status line %q ends in spaces", line)
		}
	}
	code, stdout, _ = c.box.run(t, "status", "--url", c.url, "--json")
	var s struct {
		Ready   bool
		Workers []struct {
			ID      string
			Experts []string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v in %s", code, err, stdout)
	}
	if !s.Ready || len(s.Workers) != 2 || len(s.Workers[0].Experts) != 6 {
		t.Errorf("status --json says %+v", s)
	}
}

func testChatCommand(t *testing.T, c *localCluster) {
	questions := "What is 17 + 25?\nWhat is the capital of France?\n"
	p := c.box.startIn(t, strings.NewReader(questions), "chat", "--url", c.url, "--temperature", "0")
	p.exits(t, 0)
	answers := strings.Split(strings.TrimSpace(p.stdout.String()), "\n")
	if len(answers) != 2 {
		t.Fatalf("answers %q, want one line each", answers)
	}
	mustContain(t, "the first answer", answers[0], "42")
	mustContain(t, "the second answer", answers[1], "Paris")
	if p.stderr.String() != "" {
		t.Errorf("stderr %q", p.stderr)
	}
}

func testSecondUp(t *testing.T, c *localCluster) {
	code, stdout, stderr := c.box.run(t, "up", "--listen", c.addr)
	if code != 1 || stdout != "" {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
	if strings.Count(stderr, "\n") != 1 {
		t.Errorf("want one line, have %q", stderr)
	}
	mustContain(t, "the error", stderr, c.addr, "in use", "--listen")
	c.post(t, "/v1/chat/completions", chatBody("What is 17 + 25?", "")) // the first goes on
}
