//go:build linux

package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that takes a second on an idle
// machine.
const patience = 60 * time.Second

var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // a temporary directory
	}
	os.Exit(code)
}

// conclaveBinary builds the command on first use and returns its path.
func conclaveBinary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "conclave-e2e"); built.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", filepath.Join(built.dir, "conclave"), "../cmd/conclave")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build conclave: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "conclave")
}

// sandbox is a set of processes that share a cache directory, by which they
// are found again wherever they end up in the process tree.
type sandbox struct{ cache string }

func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	s := &sandbox{cache: t.TempDir()}
	t.Cleanup(func() {
		for _, pid := range s.pids() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		s.awaitEmpty(t)
	})
	return s
}

// environ is this process's environment with the sandbox's cache and without
// settings of Conclave.
func (s *sandbox) environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CONCLAVE_") })
	return append(env, s.mark())
}

func (s *sandbox) mark() string { return "XDG_CACHE_HOME=" + s.cache }

// pids lists the sandbox's live processes.
func (s *sandbox) pids() []int {
	entries, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is well-formed
	var pids []int
	for _, path := range entries {
		environ, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(environ, []byte(s.mark()+"\x00")) {
			continue // ended, a zombie, or another's
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// find returns the pid of the live process whose command line contains all
// words as arguments, or 0.
func (s *sandbox) find(words ...string) int {
	for _, pid := range s.pids() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue
		}
		args := strings.Split(string(line), "\x00")
		if !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(args, w) }) {
			return pid
		}
	}
	return 0
}

// awaitEmpty waits until no process of the sandbox is left.
func (s *sandbox) awaitEmpty(t *testing.T) {
	t.Helper()
	until(t, "every process to end", func() (bool, string) {
		pids := s.pids()
		return len(pids) == 0, fmt.Sprintf("processes %v of the sandbox live", pids)
	})
}

// process is a running conclave.
type process struct {
	cmd            *exec.Cmd
	started        time.Time
	stdout, stderr *output
	done           chan struct{}
	code           int // after done
}

// start runs conclave with args, as the leader of a process group, as a shell
// would.
func (s *sandbox) start(t *testing.T, args ...string) *process {
	t.Helper()
	return s.startIn(t, nil, args...)
}

func (s *sandbox) startIn(t *testing.T, stdin io.Reader, args ...string) *process {
	t.Helper()
	p := &process{stdout: newOutput(), stderr: newOutput(), done: make(chan struct{})}
	p.cmd = exec.Command(conclaveBinary(t), args...)
	p.cmd.Env = s.environ()
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, p.stdout, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A child that outlives it must not keep its end unnoticed.
	p.cmd.WaitDelay = time.Second
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the code says how it went
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
		if t.Failed() {
			t.Logf("%s\nstdout:\n%s\nstderr:\n%s", strings.Join(args, " "), p.stdout, p.stderr)
		}
	})
	return p
}

// run runs a command to its end and returns its code and output.
func (s *sandbox) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := s.start(t, args...)
	p.wait(t)
	return p.code, p.stdout.String(), p.stderr.String()
}

func (p *process) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// wait waits for the end of the process.
func (p *process) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("the process did not end within %v", patience)
	}
}

// exits requires that the process ends with a code.
func (p *process) exits(t *testing.T, code int) {
	t.Helper()
	p.wait(t)
	if p.code != code {
		t.Errorf("exit code %d, want %d", p.code, code)
	}
}

// output collects what a process prints.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // replaced when closed
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

// String implements fmt.Stringer.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// awaitText waits until the process has printed text, and fails when it ends
// without.
func (p *process) awaitText(t *testing.T, o *output, text string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		o.mu.Lock()
		changed, found := o.changed, strings.Contains(o.text.String(), text)
		o.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-p.done:
			if !strings.Contains(o.String(), text) {
				t.Fatalf("the process ended with code %d and did not print %q", p.code, text)
			}
		case <-timeout:
			t.Fatalf("the process did not print %q within %v", text, patience)
		}
	}
}

// until polls a condition; what it says last explains the failure.
func until(t *testing.T, what string, condition func() (bool, string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, state := condition()
		if ok {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("waited %v for %s: %s", patience, what, state)
		}
	}
}

// freeAddr returns a loopback address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// mustBeFree requires that addr can be listened on now.
func mustBeFree(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Errorf("the port is not free: %v", err)
		return
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// awaitFree waits until addr can be listened on.
func awaitFree(t *testing.T, addr string) {
	t.Helper()
	until(t, "a free port", func() (bool, string) {
		l, err := net.Listen("tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			return false, err.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close() // nothing was sent
		return true, ""
	})
}
