package membership

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrClosed is returned by calls that the closing of the Client interrupted.
var ErrClosed = errors.New("membership client is closed")

// Config says where the registry is. Zero values mean the defaults.
type Config struct {
	Endpoints []string // host:port or URLs of etcd's members; at least one
	Cluster   string   // name of the cluster; default "default"
	// LeaseTTL is how long a silent member stays registered; default 5 s, whole seconds. Renewals
	// go out every third of it but not more often than every half second: under 2 s a busy
	// machine loses leases.
	LeaseTTL time.Duration
	Timeout  time.Duration // how long Connect waits for etcd; default 5 s
	Log      *slog.Logger  // default: discard
}

// Client is a connection to the registry. Its methods may be called concurrently.
type Client struct {
	cfg  Config
	keys keys
	log  *slog.Logger
	etcd *clientv3.Client

	ctx    context.Context // ends at Close; parent of every goroutine
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	health health
	turned chan struct{} // closed and replaced when health changes

	reporter reporter

	wg sync.WaitGroup
}

const (
	defaultLeaseTTL = 5 * time.Second
	defaultTimeout  = 5 * time.Second

	// attemptTimeout bounds one request to etcd. Shorter would give up on a disk that is
	// merely slow; longer would hold a caller on a member that is cut off.
	attemptTimeout = 3 * time.Second
	// retryFirst and retryLast bound the pause between attempts.
	retryFirst = 50 * time.Millisecond
	retryLast  = time.Second
)

// Connect opens the registry and waits until etcd has answered once. The error names the
// endpoints when it does not answer within cfg.Timeout.
func Connect(ctx context.Context, cfg Config) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	etcd, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		DialTimeout:          cfg.Timeout,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Logger:               zapLogger(cfg.Log.With("component", "etcd-client")),
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %s: %w", strings.Join(cfg.Endpoints, ", "), err)
	}
	c := &Client{
		cfg: cfg, keys: clusterKeys(cfg.Cluster), log: cfg.Log, etcd: etcd,
		turned: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.reach(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.start(c.monitor)
	return c, nil
}

// complete fills in defaults and reports what is wrong.
func (cfg *Config) complete() error {
	if len(cfg.Endpoints) == 0 {
		return errors.New("no endpoints given")
	}
	for _, e := range cfg.Endpoints {
		if strings.TrimSpace(e) == "" {
			return errors.New("one of the endpoints is empty")
		}
	}
	if cfg.Cluster == "" {
		cfg.Cluster = "default"
	}
	if err := checkID(cfg.Cluster); err != nil {
		return fmt.Errorf("cluster name: %w", err)
	}
	if cfg.LeaseTTL < 0 || cfg.Timeout < 0 {
		return fmt.Errorf("negative lease TTL %v or timeout %v", cfg.LeaseTTL, cfg.Timeout)
	}
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = defaultLeaseTTL
	}
	cfg.LeaseTTL = (cfg.LeaseTTL + time.Second - 1).Truncate(time.Second)
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// reach waits for etcd's first answer.
func (c *Client) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	err := c.retry(ctx, func(ctx context.Context) error {
		c.reconnect()
		seen, err := c.probe(ctx)
		if err == nil {
			c.observe(seen)
		}
		return err
	})
	if err == nil {
		return nil
	}
	for _, e := range c.cfg.Endpoints {
		if cause := knock(e); cause != nil {
			err = fmt.Errorf("%w; %w", err, cause)
		}
	}
	return fmt.Errorf("etcd at %s does not answer (waited up to %v): %w",
		strings.Join(c.cfg.Endpoints, ", "), c.cfg.Timeout, err)
}

// knock says what is wrong on the way to an endpoint. etcd's client hides it: it waits for a
// connection and then reports that it waited.
func knock(endpoint string) error {
	if _, rest, ok := strings.Cut(endpoint, "://"); ok {
		endpoint = rest
	}
	const patience = 500 * time.Millisecond
	conn, err := net.DialTimeout("tcp", endpoint, patience)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Close ends every watch and registration and closes the connection. It revokes nothing: a
// registration that was not closed before stays visible until its lease expires, as after a
// crash. Close may be called more than once.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
	if err := c.etcd.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close connection to etcd: %w", err)
	}
	return nil
}

// start runs f in a goroutine that Close waits for; it reports false after Close.
func (c *Client) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// until returns a context that ends with ctx or with the client.
func (c *Client) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// retry runs op until it succeeds, fails for good, or ctx or the client ends. op must be safe
// to repeat after an attempt whose outcome is unknown: etcd's client does not retry writes
// that a dying leader may or may not have taken.
func (c *Client) retry(ctx context.Context, op func(context.Context) error) error {
	ctx, cancel := c.until(ctx)
	defer cancel()
	for pause := retryFirst; ; pause = min(2*pause, retryLast) {
		attempt, done := context.WithTimeout(ctx, attemptTimeout)
		err := op(attempt)
		done()
		if err == nil || permanent(err) {
			return err
		}
		if !wait(ctx, pause) {
			if c.ctx.Err() != nil {
				return ErrClosed
			}
			if errors.Is(err, ctx.Err()) {
				return err
			}
			return fmt.Errorf("%w; last error: %w", ctx.Err(), err)
		}
	}
}

// permanent says whether repeating the request cannot help: etcd understood it and refused.
// Everything that etcd calls unavailable (no leader, lost leader, timeouts) and everything
// that is not etcd's own answer (a broken connection) may pass.
func permanent(err error) bool {
	var answer rpctypes.EtcdError
	if !errors.As(err, &answer) || errors.Is(err, rpctypes.ErrTooManyRequests) {
		return false
	}
	var unavailable rpctypes.EtcdError
	errors.As(rpctypes.ErrNoLeader, &unavailable)
	return answer.Code() != unavailable.Code()
}

// wait pauses for d and reports false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// NewIncarnation draws the name of one run of a process.
func NewIncarnation() string { return rand.Text()[:16] }
