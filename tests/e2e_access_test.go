//go:build linux

package tests

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/conclave-serve/conclave/coordinator"
)

// TestKeys requires of every request but probes a key of those that a cluster
// was given, which nobody sees in the list of processes or in the log.
func TestKeys(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "conclave.yaml")
	if err := os.WriteFile(config, []byte("api-key: [sk-one, sk-two]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := startUp(t, "--config", config, "-v", "--log-level", "debug")
	for path, want := range map[string]int{
		"/v1/models": 401, coordinator.StatusPath: 401, coordinator.ClusterPath: 401, "/readyz": 200, "/metrics": 200,
	} {
		status, body, err := c.send(t.Context(), http.MethodGet, path, "")
		if err != nil || status != want {
			t.Errorf("%s without a key: %d, %v: %s", path, status, err, body)
		}
	}
	for _, pid := range c.box.pids() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || strings.Contains(string(line), "sk-") {
			t.Errorf("command line %q, %v", line, err)
		}
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", c.worker(1)))
	if err != nil || strings.Contains(string(environ), "sk-") {
		t.Errorf("a worker's environment has a key, %v", err)
	}
	code, stdout, stderr := c.box.run(t, "status", "--url", c.url, "--api-key", "sk-two")
	if code != 0 || !strings.Contains(stdout, "worker-1") {
		t.Errorf("status with a key: exit code %d, %s%s", code, stdout, stderr)
	}
	code, _, stderr = c.box.run(t, "status", "--url", c.url)
	if code != 1 || !strings.Contains(stderr, "You didn't provide an API key") {
		t.Errorf("status without a key: exit code %d, %s", code, stderr)
	}
	chat := c.box.startIn(t, strings.NewReader("What is 17 + 25?\n"), "chat", "--url", c.url,
		"--temperature", "0", "--api-key", "sk-one")
	chat.exits(t, 0)
	mustContain(t, "the answer", chat.stdout.String(), "42")
	c.signal(t, syscall.SIGTERM)
	c.exits(t, 0)
	if strings.Contains(c.stderr.String()+c.stdout.String(), "sk-") {
		t.Error("a key was logged")
	}
}

// TestDrain tells a cluster to stop while a stream is running: the stream comes
// to its end, and meanwhile nobody is sent there who could go elsewhere.
func TestDrain(t *testing.T) {
	t.Parallel()
	c := startUp(t, "--drain-timeout", "2m")
	running := longStream(t, c.api, 1500)
	c.signal(t, syscall.SIGTERM)
	until(t, "the coordinator to drain", func() (bool, string) {
		status, body, err := c.send(t.Context(), http.MethodGet, "/readyz", "")
		return status == http.StatusServiceUnavailable, fmt.Sprintf("%d, %v: %s", status, err, body)
	})
	if status, body, err := c.send(t.Context(), http.MethodGet, "/healthz", ""); status != 200 {
		t.Errorf("/healthz: %d, %v: %s", status, err, body)
	}
	status, body, err := c.send(t.Context(), http.MethodPost, "/v1/completions", textBody(`"Once"`, ""))
	if status != http.StatusServiceUnavailable || !strings.Contains(body, `"code":"draining"`) {
		t.Errorf("a new request: %d, %v: %s", status, err, body)
	}
	if err := running(); err != nil {
		t.Errorf("the stream that was running: %v", err)
	}
	c.exits(t, 0)
}
