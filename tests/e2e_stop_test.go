//go:build linux

package tests

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInterrupt sends what a terminal's Ctrl-C sends, and what `kill -INT`
// does, while a request is running.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(pid int) error{
		"process group": func(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) },
		"parent alone":  func(pid int) error { return syscall.Kill(pid, syscall.SIGINT) },
		"SIGTERM":       func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			c := startUp(t)
			running := longStream(t, c.api, 400)
			asked := time.Now()
			if err := send(c.cmd.Process.Pid); err != nil {
				t.Fatal(err)
			}
			if err := running(); err != nil {
				t.Errorf("the request that was running: %v", err)
			}
			c.exits(t, 0)
			t.Logf("ended %.2f s after the signal", time.Since(asked).Seconds())
			mustBeFree(t, c.addr)
			if pids := c.box.pids(); len(pids) > 0 {
				t.Errorf("processes %v are left", pids)
			}
			c.registryGone(t)
			if got := c.stderr.String(); got != "stopping; press Ctrl-C again to stop at once\n" {
				t.Errorf("stderr %q", got)
			}
		})
	}
}

// TestSecondInterrupt requires that a second Ctrl-C does not wait for what is
// running.
func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	c := startUp(t)
	running := longStream(t, c.api, 4000)
	c.signal(t, syscall.SIGINT)
	c.awaitText(t, c.stderr, "stopping; press Ctrl-C again to stop at once")
	again := time.Now()
	c.signal(t, syscall.SIGINT)
	c.wait(t)
	t.Logf("ended %.2f s after the second signal", time.Since(again).Seconds())
	if running() == nil {
		t.Error("the stream of 4000 tokens came to its end: nothing was cut short")
	}
	c.box.awaitEmpty(t)
	mustBeFree(t, c.addr)
	c.registryGone(t)
}

// longStream starts a stream and returns, once its first token is there, a
// function that waits for the end of it.
func longStream(t *testing.T, a api, tokens int) (end func() error) {
	t.Helper()
	body := textBody(`"Once"`, `,"ignore_eos":true,"stream":true,"max_tokens":`+strconv.Itoa(tokens))
	resp, err := a.do(t.Context(), "POST", "/v1/completions", body)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() }) // it was read
	r := bufio.NewReader(resp.Body)
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
		t.Fatalf("first event %q, %v", line, err)
	}
	return func() error { return readStream(r, func(event) {}) }
}

// registryGone requires that nothing is left of the registry.
func (c *localCluster) registryGone(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(c.box.cache, "conclave"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if entry.Name() != "models" {
			t.Errorf("the cache directory still has %s", entry.Name())
		}
	}
}
