package local

import (
	"bufio"
	"context"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestChildIsStartedAgain(t *testing.T) {
	out := newLines()
	c := startChild(childConfig(out), "worker-1", "worker")
	first := out.pids(t, "worker-1")["worker-1"]
	kill9(t, first)
	if second := out.pids(t, "worker-1")["worker-1"]; second == first {
		t.Errorf("pid %d again", second)
	}
	c.end(t.Context())
	out.awaitLine(t, "stopping")
	out.awaitLine(t, "stopped")
	if err := c.failure(); err != nil {
		t.Error(err)
	}
}

// What ends by itself at its first start is reported at once, with its last
// line.
func TestChildGivesUp(t *testing.T) {
	out := newLines()
	c := startChild(childConfig(out), "worker-1", "mistake")
	<-c.done
	err := c.failure()
	if err == nil || err.Error() != "worker-1 does not start: exit status 1: config.json: no such field" {
		t.Errorf("failure: %v", err)
	}
	if len(out) != 2 {
		t.Errorf("%d lines of output, want 2 of one attempt", len(out))
	}
	c.end(t.Context()) // nothing is left to stop

	cfg := childConfig(out)
	cfg.Executable = filepath.Join(t.TempDir(), "missing")
	c = startChild(cfg, "worker-1", "worker")
	<-c.done
	if err := c.failure(); err == nil || !strings.Contains(err.Error(), "worker-1 does not start") ||
		!strings.Contains(err.Error(), cfg.Executable) {
		t.Errorf("missing program: %v", err)
	}
}

// Being killed, however early and often, is no mistake.
func TestChildKilledAtOnce(t *testing.T) {
	out := newLines()
	c := startChild(childConfig(out), "worker-1", "worker")
	for range startFailures + 1 {
		kill9(t, out.pids(t, "worker-1")["worker-1"])
	}
	out.pids(t, "worker-1")
	c.end(t.Context())
	if err := c.failure(); err != nil {
		t.Error(err)
	}
}

// A child that does not stop is killed: at once when told to, else in time.
func TestChildIsKilled(t *testing.T) {
	for _, timeout := range []time.Duration{time.Minute, 10 * time.Millisecond} {
		out := newLines()
		cfg := childConfig(out)
		cfg.StopTimeout = timeout
		c := startChild(cfg, "worker-1", "stubborn")
		out.pids(t, "worker-1")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			c.end(ctx)
			close(ended)
		}()
		if timeout == time.Minute {
			out.awaitLine(t, "no") // it was asked
			cancel()
		}
		<-ended
		cancel()
		if err := c.failure(); err != nil {
			t.Error(err)
		}
	}
}

// A child ends with its parent, however that dies.
func TestChildDiesWithParent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	out := newLines()
	parent := startChild(childConfig(out), "parent", "parent", listener.Addr().String())
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	from := bufio.NewReader(conn)
	if line, err := from.ReadString('\n'); line != "here\n" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	parent.mu.Lock()
	pid := parent.pid
	parent.mu.Unlock()
	kill9(t, pid)
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(from); err != nil {
		t.Errorf("the child outlives its parent: read %q, %v", rest, err)
	}
	killing, cancel := context.WithCancel(context.Background())
	cancel()
	parent.end(killing)
}

func TestCopyOutput(t *testing.T) {
	out := newLines()
	c := &child{name: "worker-12", cfg: &Config{Output: out}}
	c.copyOutput(strings.NewReader("one\n\nthree"))
	if c.lastWords() != ": three" {
		t.Errorf("last words %q", c.lastWords())
	}
	close(out)
	var got []string
	for line := range out {
		got = append(got, line)
	}
	if want := []string{"worker-12    │ one", "worker-12    │ ", "worker-12    │ three"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	c.cfg.Output = io.Discard
	long := strings.NewReader(strings.Repeat("x", 2*maxLine) + "\nmore\n")
	c.copyOutput(long)
	if long.Len() != 0 {
		t.Errorf("%d bytes are left: a child that writes an overlong line would block", long.Len())
	}
}
