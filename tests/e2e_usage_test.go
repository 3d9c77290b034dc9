//go:build linux

package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/internal/demo"
)

// TestExitCodes runs commands that cannot work: 2 for a command line that is
// wrong, 1 for a world that is.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	box := newSandbox(t)
	whole, err := demo.Unpack(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	nobody := freeAddr(t)
	noWeights := without(t, whole, "model.safetensors")
	// as returns a command that joins a cluster whose etcd nobody serves.
	as := func(command, model string) []string {
		return []string{command, "--model", model, "--listen", nobody, "--etcd", freeAddr(t)}
	}
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string // in one line on stderr
	}{
		{"no command", nil, 2, "expected one of"},
		{"unknown command", []string{"down"}, 2, "down"},
		{"unknown flag", []string{"up", "--nonsense"}, 2, "--nonsense"},
		{"no number", []string{"up", "--workers", "many"}, 2, "--workers"},
		{"no workers", []string{"up", "--workers", "0"}, 2, "--workers is 0"},
		{"model missing", []string{"worker"}, 2, "--model"},
		{"no such directory", []string{"up", "--model", "/nowhere/at/all"}, 2, "/nowhere/at/all"},
		{"no address", []string{"up", "--listen", "nowhere"}, 1, "nowhere"},
		{"empty directory", []string{"up", "--model", t.TempDir()}, 1, "config.json"},
		{"truncated weights", []string{"up", "--model", without(t, whole, "")}, 1, "model.safetensors"},
		{"no tokenizer", []string{"up", "--model", without(t, whole, "tokenizer.json")}, 1, "tokenizer.json"},
		{"coordinator without weights", as("coordinator", noWeights), 1, "model.safetensors"},
		{"coordinator without etcd", as("coordinator", whole), 1, "etcd at 127.0.0.1:"},
		{"worker without etcd", as("worker", whole), 1, "etcd at 127.0.0.1:"},
		{"status of nobody", []string{"status", "--url", "http://" + nobody}, 1, nobody},
		{"bench without what", []string{"bench"}, 2, "serve"},
		{"bench of no address", []string{"bench", "serve", "--url", nobody}, 2, "such as http://"},
		{"bench of nobody", []string{"bench", "serve", "--url", "http://" + nobody}, 1, "is it running?"},
		{"chat with nobody", []string{"chat", "--url", "http://" + nobody}, 1, nobody},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if len(args) > 0 && args[0] == "up" && tt.name != "no address" {
				args = append(args, "--listen", nobody)
			}
			code, stdout, stderr := box.run(t, args...)
			if code != tt.code || stdout != "" {
				t.Errorf("exit code %d, want %d; stdout %q", code, tt.code, stdout)
			}
			line, rest, _ := strings.Cut(stderr, "\n")
			if !strings.HasPrefix(line, "conclave: ") || !strings.Contains(line, tt.says) {
				t.Errorf("stderr %q does not name %q first", stderr, tt.says)
			}
			if want := map[int]string{1: "", 2: "Run conclave --help for usage.\n"}[tt.code]; rest != want {
				t.Errorf("after the error: %q, want %q", rest, want)
			}
		})
	}
	registries, err := filepath.Glob(filepath.Join(box.cache, "conclave", "up-*"))
	if err != nil || len(registries) > 0 {
		t.Errorf("something was started: %v, %v", registries, err)
	}
}

// without copies a checkpoint, leaves out a file, or if it names none halves
// the weights.
func without(t *testing.T, dir, name string) string {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if name != "" {
		if err := os.Remove(filepath.Join(copied, name)); err != nil {
			t.Fatal(err)
		}
		return copied
	}
	weights := filepath.Join(copied, "model.safetensors")
	info, err := os.Stat(weights)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(weights, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	return copied
}
