package coordinator

import (
	"log/slog"
	"net/http"
	"time"
)

const (
	// maxHeaderBytes bounds the headers of a request: a key and what proxies add
	// are a few kilobytes.
	maxHeaderBytes = 64 << 10
	// maxConnections is more than --max-waiting lets work, and less than the files
	// that a process may have open.
	maxConnections = 4096
	// patience is how long a request may take to arrive, and a short answer to
	// leave. The API sets times of its own for large bodies, for answers that take
	// long to compute, and for each event of a stream.
	patience = time.Minute
)

// newServer returns the HTTP server of h. Nobody holds one of its connections by
// being slow, with a key or without: a body that nobody reads is waited for, too,
// before its answer leaves.
func newServer(h http.Handler, patience time.Duration, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: min(patience, 10*time.Second),
		ReadTimeout:       patience,
		WriteTimeout:      patience,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
