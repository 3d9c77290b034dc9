package coordinator

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// The connection of a request whose body never comes ends, although nobody wants
// the body; so does one whose client takes no answer.
func TestSlowClients(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	server := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/large" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				answered <- err
				return
			}
		}
	}), 50*time.Millisecond, slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		_ = server.Close()
		<-served
	}()
	send := func(head string) net.Conn {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, head+" HTTP/1.1\r\nHost: a\r\n"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := send("POST /small")
	if _, err := io.WriteString(c, "Content-Length: 100\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second)) // far beyond what it takes
	if answer, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a body that does not come is waited for without end: %q", answer)
	}
	if _, err := io.WriteString(send("GET /large"), "\r\n"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	select {
	case err := <-answered:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the answer that nobody takes ends with %v", err)
		}
	case <-ctx.Done():
		t.Error("an answer that nobody takes is waited for without end")
	}
}
