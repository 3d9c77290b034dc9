//go:build linux

package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program on a host, which may be started again and again. Its
// output goes to one file.
type process struct {
	name    string
	host    int
	net     network
	command []string
	cache   string // of the user, as XDG says
	log     *os.File

	mu     sync.Mutex
	cmd    *exec.Cmd
	done   chan struct{}
	wanted bool   // it should be running
	odd    string // how it ended although it should not have
}

func newProcess(t *testing.T, n network, dir, name string, host int, command ...string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{name: name, host: host, net: n, command: command, cache: dir, log: log}
	t.Cleanup(func() {
		p.kill()
		_ = log.Close() // nobody writes any more
	})
	return p
}

// start starts the program, once with further arguments; it must not be running.
func (p *process) start(more ...string) error {
	cmd := exec.Command(p.command[0], slices.Concat(p.command[1:], more)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "CONCLAVE_") || strings.HasPrefix(v, "XDG_CACHE_HOME=")
	})
	cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+p.cache)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	fmt.Fprintf(p.log, "--- %s start\n", time.Now().UTC().Format(time.RFC3339Nano))
	if err := p.net.do(p.host, cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.done, p.wanted = cmd, done, true
	p.mu.Unlock()
	go func() {
		defer close(done)
		err := cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.wanted {
			p.odd = fmt.Sprintf("%s ended by itself: %v", p.name, err)
		}
	}()
	return nil
}

// pid is that of the process that was started last.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// running says whether the process lives.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends a signal; ending by it is then nothing odd.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		p.wanted = false
	}
	_ = p.cmd.Process.Signal(s) // it may have ended
}

// kill ends the process and waits until it has.
func (p *process) kill() {
	if p.done == nil {
		return // it has never run
	}
	p.signal(syscall.SIGKILL)
	<-p.done
}

// stop asks the process to leave, and says what was wrong with that.
func (p *process) stop(patience time.Duration) error {
	p.signal(syscall.SIGTERM)
	return p.left(patience)
}

// release lets the process end by itself from now on.
func (p *process) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = false
}

// left waits until the process has ended as one does that was asked to.
func (p *process) left(patience time.Duration) error {
	select {
	case <-p.done:
	case <-time.After(patience):
		return fmt.Errorf("%s has not left after %v", p.name, patience)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s left with exit code %d", p.name, code)
	}
	return nil
}

// logged counts how often its logs have a text.
func (p *process) logged(text string) (int, error) {
	log, err := os.ReadFile(p.log.Name())
	return bytes.Count(log, []byte(text)), err
}

// oddity returns how the process ended although nobody made it, once.
func (p *process) oddity() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.odd == "" {
		return nil
	}
	err := errors.New(p.odd)
	p.odd = ""
	return err
}
