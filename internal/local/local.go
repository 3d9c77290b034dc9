package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
)

// Config describes a cluster on this machine.
type Config struct {
	// Executable is this binary, Env the environment of its children. The
	// coordinator's has FrontEnv too: secrets that workers have no use for.
	Executable    string
	Env, FrontEnv []string
	// Dir holds the registry's files; those of the last run are removed first.
	// Clusters that run at the same time need directories of their own.
	Dir string
	// Listen is the address of the API.
	Listen string
	// Workers is the number of workers.
	Workers int
	// Coordinator and Worker are arguments for the children, after the
	// subcommand and what this package adds.
	Coordinator, Worker []string
	// Experts is the number of experts to load, for the progress bar, and
	// ExpertBytes the size of all of them.
	Experts     int
	ExpertBytes int64
	// StartTimeout bounds the start; default 10 minutes, for large models.
	// StopTimeout is how long a child may take to stop; default 15 s.
	StartTimeout, StopTimeout time.Duration
	// Output receives the children's output, line by line; default: nobody.
	Output io.Writer
	// Progress, if set, hears of loading: Begin with the bytes to come, Add as
	// they arrive, End when the cluster serves or has failed.
	Progress Progress
	// Ready, if set, is called once when the cluster serves.
	Ready func(url string)
	Log   *slog.Logger // default: discard

	served chan struct{} // closed when the cluster serves
}

// clusterName names the cluster in its own registry.
const clusterName = "local"

func (cfg *Config) setDefaults() {
	if cfg.Output == nil {
		cfg.Output = io.Discard
	}
	cfg.Output = &lockedWriter{w: cfg.Output}
	cfg.served = make(chan struct{})
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = 10 * time.Minute
	}
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = 15 * time.Second
	}
	if cfg.Ready == nil {
		cfg.Ready = func(string) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
}

// Progress hears of loading.
type Progress interface {
	Begin(total int64)
	Add(bytes int64)
	End()
}

// Run runs the cluster until ctx ends, then stops it in order. Once kill is
// closed, whatever still runs is ended at once.
func Run(ctx context.Context, cfg Config, kill <-chan struct{}) error {
	cfg.setDefaults()
	if err := checkFree(cfg.Listen); err != nil {
		return err
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	data := filepath.Join(cfg.Dir, "etcd")
	if err := os.RemoveAll(data); err != nil {
		return fmt.Errorf("clear the registry of the last run: %w", err)
	}
	etcd, err := membership.StartEmbedded(membership.EmbeddedConfig{
		Dir: data, NoFsync: true, Log: cfg.Log,
	})
	if err != nil {
		return err
	}
	children := cfg.start(etcd.Endpoint())
	err = cfg.serve(ctx, etcd.Endpoint(), children)
	killing, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-kill:
			cancel()
		case <-killing.Done():
		}
	}()
	stopChildren(killing, children)
	err = errors.Join(err, etcd.Close(), os.RemoveAll(data))
	_ = os.Remove(cfg.Dir) // unless somebody keeps other things in it
	return err
}

// checkFree says in one line what is wrong with an address that cannot be
// listened on.
func checkFree(addr string) error {
	if _, port, err := net.SplitHostPort(addr); err == nil && port == "0" {
		return fmt.Errorf("listen on %s: a whole cluster needs a port that is known beforehand", addr)
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use, perhaps by another conclave: "+
			"stop it or choose another address with --listen", addr)
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l.Close()
}

// start launches the children: the coordinator first in the list.
func (cfg *Config) start(etcd string) []*child {
	common := []string{"--etcd", etcd, "--cluster", clusterName, "--with-parent"}
	args := func(command, id string, more ...string) []string {
		return append(append([]string{command, "--id", id}, common...), more...)
	}
	front := []string{"--listen", cfg.Listen, "--min-workers", strconv.Itoa(cfg.Workers)}
	secrets := *cfg
	secrets.Env = slices.Concat(cfg.Env, cfg.FrontEnv)
	children := []*child{startChild(&secrets, "coordinator",
		args("coordinator", "coordinator-1", append(front, cfg.Coordinator...)...)...)}
	for i := range cfg.Workers {
		id := fmt.Sprintf("worker-%d", i+1)
		children = append(children, startChild(cfg, id, args("worker", id, cfg.Worker...)...))
	}
	return children
}

// serve waits until the cluster serves, reports that, and then waits for ctx
// to end or a child to fail for good.
func (cfg *Config) serve(ctx context.Context, etcd string, children []*child) error {
	failed := make(chan error, len(children))
	for _, c := range children {
		go func() {
			<-c.done
			if err := c.failure(); err != nil {
				failed <- err
			}
		}()
	}
	starting, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- cfg.awaitReady(starting, etcd) }()
	select {
	case err := <-failed:
		cancel()
		<-ready
		return err
	case err := <-ready:
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("the cluster did not start: %w", err)
		}
	}
	close(cfg.served)
	cfg.Ready("http://" + cfg.Listen)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// stopChildren stops the coordinator, then all workers at once.
func stopChildren(ctx context.Context, children []*child) {
	children[0].end(ctx)
	var wg sync.WaitGroup
	for _, c := range children[1:] {
		wg.Go(func() { c.end(ctx) })
	}
	wg.Wait()
}

// lockedWriter keeps the lines of several children whole.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// DirName returns a directory name for the cluster that listens on addr.
func DirName(addr string) string {
	return "up-" + strings.NewReplacer(":", "-", "/", "-", "[", "", "]", "").Replace(addr)
}
