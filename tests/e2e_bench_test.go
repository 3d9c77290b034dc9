//go:build linux

package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestBenchServe measures a real cluster: the figures are of this machine, but what was asked and
// what was counted are known.
func TestBenchServe(t *testing.T) {
	t.Parallel()
	box := newSandbox(t)
	addr := freeAddr(t)
	up := box.start(t, "up", "--listen", addr)
	up.awaitText(t, up.stdout, "Ctrl-C stops it")
	url := "http://" + addr
	picture := filepath.Join(t.TempDir(), "run.svg")
	code, stdout, stderr := box.run(t, "bench", "serve", "--url", url, "--concurrency", "3",
		"--requests", "7", "--warmup", "2", "--prompt-tokens", "uniform:40-80", "--output-tokens", "20",
		"--shared-prefix", "64", "--ignore-eos", "--slo", "e2e:10m", "--json-raw", "--plot", picture)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var r struct {
		Requests struct{ Sent, Finished, Failed int }
		Tokens   struct{ Output int }
		Goodput  struct{ Share float64 }
		Records  []struct {
			TTFT         float64 `json:"ttft_ms"`
			E2E          float64 `json:"e2e_ms"`
			PromptTokens int     `json:"prompt_tokens"`
			OutputTokens int     `json:"output_tokens"`
		}
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if r.Requests.Finished != 7 || r.Requests.Failed != 0 || r.Tokens.Output != 7*20 || r.Goodput.Share != 1 {
		t.Errorf("%s", stdout)
	}
	for i, k := range r.Records {
		if k.TTFT <= 0 || k.E2E < k.TTFT || k.OutputTokens != 20 || k.PromptTokens < 104 || k.PromptTokens > 144 {
			t.Errorf("request %d: %+v", i, k)
		}
	}
	if strings.Contains(stdout, "another length") {
		t.Errorf("prompts have not the lengths that were aimed at:\n%s", stdout)
	}
	if info, err := os.Stat(picture); err != nil || info.Size() == 0 {
		t.Errorf("no picture: %v", err)
	}

	code, _, stderr = box.run(t, "bench", "serve", "--url", url, "--model", "gpt-4o")
	if code != 1 || !strings.Contains(stderr, "it lists conclave-demo-moe") {
		t.Errorf("unknown model: exit code %d: %s", code, stderr)
	}

	endless := box.start(t, "bench", "serve", "--url", url, "--duration", "10m",
		"--concurrency", "2", "--output-tokens", "1500", "--ignore-eos")
	a := api{url}
	until(t, "the load to come", func() (bool, string) {
		s, ok := a.status(t)
		return ok && s.Engine.Running == 2, "two requests do not run"
	})
	endless.signal(t, syscall.SIGINT)
	endless.wait(t)
	if out := endless.stdout.String(); !strings.Contains(out, "interrupted: the figures are of what had finished") {
		t.Errorf("exit code %d, and it says %s", endless.code, out)
	}
	up.signal(t, syscall.SIGINT)
	up.exits(t, 0)
}

// TestBenchHop measures hops to a child process, with another that keeps cores busy; both are gone
// in the end, or the command would wait for them.
func TestBenchHop(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := newSandbox(t).run(t, "bench", "hop", "--hidden", "64", "--tokens", "1,3",
		"--duration", "1ms", "--busy", "--json")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var r struct {
		Busy bool
		Hops []struct{ Tokens, Bytes int }
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || !r.Busy || len(r.Hops) != 4 ||
		r.Hops[1].Bytes != 3*64*2 {
		t.Errorf("%v in %s", err, stdout)
	}
}
