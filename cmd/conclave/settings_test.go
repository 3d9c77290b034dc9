package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// parse reads a command line as run does.
func parse(t *testing.T, args ...string) (*cli, error) {
	t.Helper()
	var c cli
	parser, err := newParser(&c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return &c, err
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "conclave.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The flag comes first, then the environment, the file and the default; in the
// file, what stands under a command's name comes before the top level.
func TestPrecedence(t *testing.T) {
	file := writeConfig(t, "workers: 3\nmax-rows: 30\nup:\n  max-rows: 31\n")
	up := func(args ...string) upCommand {
		c, err := parse(t, append([]string{"up"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return c.Up
	}
	if got := up(); got.Workers != 2 || got.MaxRows != 256 {
		t.Errorf("defaults: %d workers, %d rows", got.Workers, got.MaxRows)
	}
	if got := up("--config", file); got.Workers != 3 || got.MaxRows != 31 {
		t.Errorf("file: %d workers, %d rows, want 3 and 31", got.Workers, got.MaxRows)
	}
	t.Setenv("CONCLAVE_WORKERS", "4")
	if got := up("--config", file); got.Workers != 4 {
		t.Errorf("environment before file: %d workers, want 4", got.Workers)
	}
	if got := up("--config", file, "--workers", "5"); got.Workers != 5 {
		t.Errorf("flag before environment: %d workers, want 5", got.Workers)
	}
}

// A command of a group has its settings under both names, and the model's name a twin of its own.
func TestSettingsOfAGroup(t *testing.T) {
	file := writeConfig(t, "concurrency: 3\nbench serve:\n  rate: 2.5\n  slo: [\"ttft:1s\", \"e2e:2s\"]\n")
	t.Setenv("CONCLAVE_MODEL", "/a/folder")
	t.Setenv("CONCLAVE_API_KEY", "secret")
	c, err := parse(t, "bench", "serve", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Bench.Serve
	if got.Concurrency != 3 || got.Rate != 2.5 || got.SLO.String() != "ttft:1s,e2e:2s" ||
		got.Model != "" || got.APIKey != "secret" {
		t.Errorf("read as %+v", got)
	}
}

// What up is told about serving is what its coordinator is told.
func TestUpPassesSettingsOn(t *testing.T) {
	for _, args := range [][]string{nil, {
		"--kv-memory=3MiB", "--kv-dtype=int8", "--no-prefix-caching", "--no-last-resort", "--max-rows=9", "--max-running=8",
		"--max-waiting=7", "--wire=bf16", "--transport=grpc", "--call-timeout=6s", "--patience=5s", "--drain-timeout=4s",
		"--rope-scaling={}", "--tool-format=hermes", "--micro-batches=2", "--draft-tokens=3",
		"--api-key=k", "--cors-origin=*", "--max-body=5MiB", "--request-timeout=3s",
	}} {
		c, err := parse(t, append([]string{"up"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		want := c.Up.serveFlags
		want.ModelName = "m"
		c, err = parse(t, append([]string{"coordinator"}, c.Up.coordinatorArgs(t.TempDir(), "m")...)...)
		if err != nil {
			t.Fatal(err)
		}
		want.APIKey = nil // they travel in the environment
		if !reflect.DeepEqual(c.Coordinator.serveFlags, want) {
			t.Errorf("%v: the coordinator gets %+v, want %+v", args, c.Coordinator.serveFlags, want)
		}
	}
}

// Children share processors: none binds a thread to one.
func TestUpPinsToNodes(t *testing.T) {
	for args, want := range map[string]string{"up": "node", "up --pin=off": "off"} {
		c, err := parse(t, strings.Fields(args)...)
		if err != nil {
			t.Fatal(err)
		}
		w, err := parse(t, append([]string{"worker"}, c.Up.workerArgs(t.TempDir())...)...)
		if err != nil || w.Worker.Pin != want {
			t.Errorf("%s: workers have --pin %s, %v; want %s", args, w.Worker.Pin, err, want)
		}
		k, err := parse(t, append([]string{"coordinator"}, c.Up.coordinatorArgs(t.TempDir(), "m")...)...)
		if err != nil || k.Coordinator.Pin != want {
			t.Errorf("%s: the coordinator has --pin %s, %v; want %s", args, k.Coordinator.Pin, err, want)
		}
	}
	if _, err := parse(t, "up", "--pin=on"); err == nil {
		t.Error("children of up may all be bound to the same processors")
	}
}

func TestSettingsThatMakeNoSense(t *testing.T) {
	model := t.TempDir()
	for _, test := range []struct{ args, file, want string }{
		{"up --workers=0", "", "--workers is 0"},
		{"up --max-rows=-1", "", "--max-rows is -1"},
		{"up --patience=-3s", "", "--patience is -3s"},
		{"up --request-timeout=-3s", "", "--request-timeout is -3s"},
		{"up --api-key=a,,b", "", "API key 2 of 3 is empty"},
		{"up --cors-origin=example.com", "", `CORS origin "example.com"`},
		{"up --api-key=", "", "no key; leave it out"},
		{"up --api-key-file=", "", "no file; leave it out"},
		{"up --max-body=0", "", "--max-body is 0"},
		{"up --api-key-file=" + filepath.Join(model, "none"), "", "read API keys: open"},
		{"up --kv-dtype=fp8", "", "want f32, bf16 or int8"},
		{"up --trace-sample=2", "", "want 0 to 1"},
		{"up --otlp-endpoint=localhost:4318", "", "want http://"},
		{"coordinator --max-running=-1 --model " + model, "", "--max-running is -1"},
		{"coordinator --threads=-2 --model " + model, "", "--threads is -2"},
		{"coordinator --lease-ttl=-5s --model " + model, "", "--lease-ttl is -5s"},
		{"worker --threads=-2 --model " + model, "", "--threads is -2"},
		{"worker --gossip-port=-1 --model " + model, "", "--gossip-port is -1"},
		{"up", "nope: 1", "nope is no flag"},
		{"up", "up: {nope: 1}", "up.nope is no flag of conclave up"},
		{"up", "worker: {workers: 1}", "worker.workers is no flag of conclave worker"},
		{"bench serve", "bench serve: {nope: 1}", "bench serve.nope is no flag of conclave bench serve"},
		{"bench serve", "bench: {rate: 1}", "bench is no flag"},
		{"status", "url: {a: 1}", "url: want a value"},
		{"status", "status: {url: {a: 1}}", "url: want a value"},
	} {
		args := strings.Fields(test.args)
		if test.file != "" {
			args = append(args, "--config", writeConfig(t, test.file))
		}
		if _, err := parse(t, args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s, file %q: error %v, want one with %q", test.args, test.file, err, test.want)
		}
	}
}
