//go:build linux

package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/conclave-serve/conclave/coordinator"
)

// mixedPrompt is the prompt of request i: a few words, or some hundred, some of
// which begin alike.
func mixedPrompt(i int) string {
	text := fmt.Sprintf("Story %d: once upon a time", i)
	switch i % 4 {
	case 1:
		text = strings.Repeat("The quick brown fox jumps over the lazy dog. ", 10+i%3) + text
	case 3:
		text = text + strings.Repeat(fmt.Sprintf(" and %d more came by", i), 30)
	}
	return text
}

// mixedBody is request i: greedy or sampled, streamed or not.
func mixedBody(i int) (body string, streamed bool) {
	prompt, err := json.Marshal(mixedPrompt(i))
	if err != nil {
		panic(err) // a string
	}
	more := fmt.Sprintf(`,"max_tokens":%d,"ignore_eos":true,"priority":%d`, 40+i%50, i%3)
	if i%3 == 1 {
		more += fmt.Sprintf(`,"temperature":0.9,"top_p":0.95,"seed":%d`, i)
	} else {
		more += `,"temperature":0`
	}
	if streamed = i%2 == 0; streamed {
		more += `,"stream":true`
	}
	return fmt.Sprintf(`{"prompt":%s%s}`, prompt, more), streamed
}

// ask sends request i and returns its text.
func ask(ctx context.Context, a api, i int) (string, error) {
	body, streamed := mixedBody(i)
	if streamed {
		return a.stream(ctx, "/v1/completions", body)
	}
	status, answer, err := a.send(ctx, http.MethodPost, "/v1/completions", body)
	if err != nil {
		return "", err
	}
	if status != http.StatusOK {
		return "", &refusal{status, answer}
	}
	var whole event
	if err := json.Unmarshal([]byte(answer), &whole); err != nil {
		return "", fmt.Errorf("%w in %s", err, answer)
	}
	return whole.Choices[0].Text, nil
}

// Many requests at once, of all kinds, some of whose clients leave, on a cache
// that holds a part of them, with guesses and shared prefixes: each says what it
// says alone on a plain server, and nothing is left behind.
func TestMixedLoad(t *testing.T) {
	t.Parallel()
	const requests, leavers = 64, 12
	plain := startUp(t, "--workers", "1", "--prefix-caching=false", "--micro-batches", "1")
	want := make([]string, requests)
	for i := range want {
		var err error
		if want[i], err = ask(t.Context(), plain.api, i); err != nil {
			t.Fatal(err)
		}
	}
	plain.signal(t, syscall.SIGINT)
	plain.exits(t, 0)

	c := startUp(t, "--workers", "3", "--kv-memory", "10MiB", "--draft-tokens", "3")
	var all sync.WaitGroup
	for i := range requests {
		all.Go(func() {
			got, err := ask(t.Context(), c.api, i)
			if err != nil {
				t.Errorf("request %d: %v", i, err)
			} else if got != want[i] {
				t.Errorf("request %d said\n%q, alone\n%q", i, got, want[i])
			}
		})
	}
	for i := range leavers {
		all.Go(func() { leave(t, c.api, i) })
	}
	all.Wait()
	until(t, "every page to come back", func() (bool, string) {
		s, ok := c.status(t)
		return ok && s.Engine.PagesUsed == 0 && s.Engine.Running == 0 && s.Engine.Waiting == 0,
			fmt.Sprintf("%+v", s.Engine)
	})
	s, _ := c.status(t)
	t.Logf("%+v", s.Engine)
	if s.Engine.Preemptions == 0 || s.Engine.PrefixHits == 0 || s.Engine.AcceptedTokens == 0 {
		t.Errorf("preemption, shared prefixes and guesses were not all at work: %+v", s.Engine)
	}
}

// leave begins a long stream and goes after a few events.
func leave(t *testing.T, a api, i int) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body := fmt.Sprintf(`{"prompt":"Leaver %d","max_tokens":3000,"ignore_eos":true,"stream":true}`, i)
	resp, err := a.do(ctx, http.MethodPost, "/v1/completions", body)
	if err != nil {
		t.Errorf("leaver %d: %v", i, err)
		return
	}
	defer resp.Body.Close()
	events := 0
	err = readStream(resp.Body, func(event) {
		if events++; events > i {
			cancel()
		}
	})
	if err == nil {
		t.Errorf("leaver %d was served to the end", i)
	}
}

// Memory stays what it is over thousands of requests.
func TestMemoryStaysFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("2,500 requests take a while: not with -short")
	}
	c := startUp(t, "--workers", "2", "--kv-memory", "16MiB")
	round := func(first, n int) {
		var clients sync.WaitGroup
		numbers := make(chan int)
		for range 24 {
			clients.Go(func() {
				for i := range numbers {
					body := fmt.Sprintf(`{"prompt":"Number %d","max_tokens":8,"ignore_eos":true,"seed":1}`, i)
					status, answer, err := c.send(t.Context(), http.MethodPost, "/v1/completions", body)
					if err != nil || status != http.StatusOK {
						t.Errorf("request %d: status %d, %v: %s", i, status, err, answer)
					}
				}
			})
		}
		for i := range n {
			numbers <- first + i
		}
		close(numbers)
		clients.Wait()
	}
	pids := []int{c.coordinator(), c.worker(1), c.worker(2)}
	round(0, 500) // the heap and the cache reach their sizes
	before := residents(t, pids)
	round(500, 2000)
	after := residents(t, pids)
	t.Logf("resident memory in MB, coordinator and workers: %d before, %d after", before, after)
	const slack = 12 // MB: the collector's timing
	for i := range pids {
		if after[i] > before[i]+slack {
			t.Errorf("process %d grew from %d to %d MB", i, before[i], after[i])
		}
	}
	until(t, "every page to come back", func() (bool, string) {
		s, ok := c.status(t)
		return ok && s.Engine.PagesUsed == 0, fmt.Sprintf("%+v", coordinator.Status{Engine: s.Engine})
	})
}

// residents returns the resident memory of processes in MB.
func residents(t *testing.T, pids []int) []int {
	t.Helper()
	var sizes []int
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		fields := bytes.Fields(status)
		at := slices.IndexFunc(fields, func(f []byte) bool { return string(f) == "VmRSS:" })
		if at < 0 || at+1 >= len(fields) {
			t.Fatalf("process %d: no VmRSS", pid)
		}
		kB, err := strconv.Atoi(string(fields[at+1]))
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, kB>>10)
	}
	return sizes
}
