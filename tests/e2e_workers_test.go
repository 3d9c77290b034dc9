//go:build linux

package tests

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
)

// TestNumberOfWorkersDoesNotShow requires the same bytes from clusters of one,
// two and five workers, but for the id and the time.
func TestNumberOfWorkersDoesNotShow(t *testing.T) {
	t.Parallel()
	requests := []struct{ path, body string }{
		{"/v1/chat/completions", chatBody("What is 17 + 25?", `,"logprobs":true,"top_logprobs":5`)},
		{"/v1/chat/completions", chatBody("Tell me a story.",
			`,"logprobs":true,"chat_template_kwargs":{"enable_thinking":false}`)},
		{"/v1/chat/completions", chatBody("Who are you?",
			`,"stream":true,"stream_options":{"include_usage":true},"logprobs":true`)},
		{"/v1/completions", textBody(`"Once upon a time"`, `,"max_tokens":64,"logprobs":5,"echo":true`)},
		{"/v1/completions", textBody(`["The capital of Italy", "2 + 2 ="]`, `,"max_tokens":16,"logprobs":1`)},
		{"/v1/completions", textBody(`[10,20,30,40]`, `,"max_tokens":64,"logprobs":5,"ignore_eos":true`)},
	}
	var want []string
	for _, workers := range []int{1, 2, 5} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			c := startUp(t, "--workers", strconv.Itoa(workers))
			for i, r := range requests {
				got := scrub(c.post(t, r.path, r.body))
				if len(want) <= i {
					want = append(want, got)
				}
				if got != want[i] {
					t.Errorf("%s %s\n%d workers: %s\n1 worker: %s", r.path, r.body, workers, got, want[i])
				}
			}
			if s, ok := c.status(t); !ok || len(s.Workers) != workers {
				t.Errorf("status shows %d workers, want %d", len(s.Workers), workers)
			}
			testConcurrentStreams(t, c.api)
		})
	}
}

// testConcurrentStreams requires that 16 streams at once say what each says
// alone.
func testConcurrentStreams(t *testing.T, a api) {
	const streams = 16
	body := func(i int) string {
		return textBody(fmt.Sprintf(`"%d and %d make"`, i, 3*i),
			fmt.Sprintf(`,"max_tokens":%d,"logprobs":2,"ignore_eos":true,"stream":true`, 24+5*i))
	}
	var alone [streams]string
	for i := range streams {
		alone[i] = scrub(a.post(t, "/v1/completions", body(i)))
	}
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() {
			_, got, err := a.send(t.Context(), "POST", "/v1/completions", body(i))
			if err != nil {
				t.Error(err)
			} else if scrub(got) != alone[i] {
				t.Errorf("stream %d among others: %s\nalone: %s", i, scrub(got), alone[i])
			}
		})
	}
	wg.Wait()
}
