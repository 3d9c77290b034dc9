package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// goRunPoll is how often a program under go run looks for its parent.
const goRunPoll = 500 * time.Millisecond

// withGoRun returns a context that also ends with the `go run` that started
// this program, if one did: the go command passes on neither SIGTERM nor what
// kills it, and a cluster that nobody sees would keep the port.
func withGoRun(ctx context.Context, executable string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if !strings.Contains(executable, string(filepath.Separator)+"go-build") {
		return ctx, cancel
	}
	parent := os.Getppid()
	go func() {
		ticker := time.NewTicker(goRunPoll)
		defer ticker.Stop()
		for os.Getppid() == parent {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
		cancel()
	}()
	return ctx, cancel
}
