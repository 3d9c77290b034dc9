package membership

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for something that must come; only failures take that long.
const patience = 20 * time.Second

func startEtcd(t *testing.T, cfg EmbeddedConfig) *Embedded {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.NoFsync = true
	e, err := StartEmbedded(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func connect(t *testing.T, endpoint string, ttl time.Duration) *Client {
	t.Helper()
	c, err := Connect(t.Context(), Config{
		Endpoints: []string{endpoint}, Cluster: "test", LeaseTTL: ttl, Timeout: patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func registerWorker(t *testing.T, c *Client, w Worker) *Registration[Worker] {
	t.Helper()
	r, err := c.RegisterWorker(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// elect makes id the controller, who has no rival.
func elect(t *testing.T, c *Client, id string) *Office {
	t.Helper()
	office, err := c.Campaign(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return office
}

// soon is a context with the test's patience.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// until reads from ch until accept is true of what came, and returns that.
func until[T any](t *testing.T, ch <-chan T, what string, accept func(T) bool) T {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	var last T
	for {
		select {
		case v, open := <-ch:
			if !open {
				t.Fatalf("waiting for %s: channel closed; last seen %+v", what, last)
			}
			if last = v; accept(v) {
				return v
			}
		case <-deadline.C:
			t.Fatalf("waiting for %s: nothing came; last seen %+v", what, last)
		}
	}
}

// closes waits until ch is closed.
func closes(t *testing.T, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatalf("waiting for %s", what)
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
