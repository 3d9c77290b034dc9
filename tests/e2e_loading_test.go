//go:build linux

package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/conclave-serve/conclave/internal/demo"
)

// A cluster that reads its model by HTTP says what one does that has it in a folder, and reads
// nothing again when it comes back.
func TestUpFromURL(t *testing.T) {
	t.Parallel()
	conclaveBinary(t)
	dir, err := demo.Unpack(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files := serveFiles(t, dir)
	var shown, other atomic.Int64
	origin := behindToken(t, files, "sk-origin", &shown, &other)
	where := origin.URL + "/org/" + demo.Name + "/resolve/main"

	const question = "Name three rivers."
	local := startUp(t, "--model", dir, "--model-name", demo.Name)
	want := post[chatAnswer](t, local.api, "/v1/chat/completions", chatBody(question, ""))

	box := newSandbox(t)
	for i, workers := range []string{"4", "2"} {
		addr := freeAddr(t)
		up := upOn(t, box, addr, "--model", where, "--workers", workers, "--hub-token", "sk-origin")
		got := post[chatAnswer](t, up.api, "/v1/chat/completions", chatBody(question, ""))
		if got.Choices[0].Message.Content != want.Choices[0].Message.Content {
			t.Errorf("%s workers say %q, with a folder it is %q", workers,
				got.Choices[0].Message.Content, want.Choices[0].Message.Content)
		}
		for _, pid := range box.pids() {
			mustNotShow(t, pid, up.cmd.Process.Pid, "sk-origin")
		}
		up.signal(t, syscall.SIGTERM)
		up.exits(t, 0)
		sent, size := files.sent(), weightBytes(t, dir)
		t.Logf("run %d: %d bytes of weights were sent, the model has %d", i+1, sent, size)
		// Two processes that want the same small range at the same moment both read it: the
		// holders of the copies of an expert, and those of its neighbours.
		if i == 0 && sent > 3*size {
			t.Errorf("%d bytes were read of a model of %d", sent, size)
		}
		if i > 0 && sent > 8*1024 {
			t.Errorf("%d bytes were read again", sent)
		}
	}
	if other.Load() > 0 || shown.Load() == 0 {
		t.Errorf("%d requests came without the token, %d with it", other.Load(), shown.Load())
	}
	testInspectURL(t, box, where, dir)
}

// behindToken serves files to whoever shows the token.
func behindToken(
	t *testing.T, files *fileServer, token string, shown, other *atomic.Int64,
) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			other.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		shown.Add(1)
		r.URL = &url.URL{Path: r.URL.Path[strings.LastIndex(r.URL.Path, "/"):]}
		files.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// mustNotShow requires that the command line of a child does not hold a secret.
func mustNotShow(t *testing.T, pid, parent int, secret string) {
	t.Helper()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil && pid != parent && bytes.Contains(line, []byte(secret)) {
		t.Errorf("process %d shows the token: %q", pid, line)
	}
}

// weightBytes is the size of a folder's weight files.
func weightBytes(t *testing.T, dir string) (n int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	for _, name := range names {
		info, statErr := os.Stat(name)
		err = errors.Join(err, statErr)
		n += info.Size()
	}
	if err != nil || n == 0 {
		t.Fatalf("%d bytes of weights, %v", n, err)
	}
	return n
}

func testInspectURL(t *testing.T, box *sandbox, where, dir string) {
	read := func(args ...string) map[string]any {
		t.Helper()
		code, stdout, stderr := box.run(t, append([]string{"inspect", "--json"}, args...)...)
		var list []map[string]any
		if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != 0 || len(list) != 1 {
			t.Fatalf("inspect %v ended with %d, %v\n%s", args, code, err, stderr)
		}
		delete(list[0], "path")
		return list[0]
	}
	got, want := read(where, "--hub-token", "sk-origin"), read(dir)
	for key := range want {
		if got[key] != want[key] {
			t.Errorf("%s is %v by URL, %v in the folder", key, got[key], want[key])
		}
	}
	code, _, stderr := box.run(t, "inspect", where, "--cache-dir", t.TempDir())
	if code != 1 || !strings.Contains(stderr, "--hub-token") {
		t.Errorf("without the token it ends with %d: %s", code, stderr)
	}
}
