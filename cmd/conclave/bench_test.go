package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBenchOfAModel runs both for a moment. --config is a model's, and no file with settings.
func TestBenchOfAModel(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "roofs.svg")
	c, err := parse(t, "bench", "kernels", "--config", tinyConfig, "--quick", "--duration", "1ms",
		"--memory", "256MiB", "--threads", "1", "--plot", picture)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Bench.Kernels.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(picture); err != nil || info.Size() == 0 {
		t.Errorf("no picture: %v", err)
	}
	c, err = parse(t, "bench", "model", "--model", "../../internal/demo/checkpoint", "--batch", "1,2", "--prompt", "5",
		"--context", "4", "--steps", "2", "--threads", "1", "--json")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Bench.Model.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func TestBenchRefuses(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"kernels --plot run.pdf", "ends with .svg or .png"},
		{"kernels --threads=-1", "--threads is -1"},
		{"kernels --model nowhere", "nowhere"},
		{"kernels --memory 1MiB --config " + tinyConfig, "want at least 256 MiB"},
		{"kernels --model . --config x.json", "both name a model"},
		{"model", "needs --model DIR, or --config FILE"},
		{"model --model . --layers 2", "a checkpoint has what it has"},
		{"model --steps 0", "--steps is 0"},
		{"model --config " + tinyConfig + " --batch 0", "batch of 0"},
		{"hop --serve :0 --connect {}", "give one of them"},
		{"hop --connect {}", "hops of 0 numbers to 0 ends"},
		{"hop --hidden 0", "--hidden is 0"},
		{"hop --wire f8", "f8"},
	} {
		line, err := parse(t, append([]string{"bench"}, strings.Fields(c.args)...)...)
		if err == nil {
			err = map[string]func() error{
				"kernels": func() error { return line.Bench.Kernels.Run(t.Context(), line) },
				"model":   func() error { return line.Bench.Model.Run(t.Context(), line) },
				"hop":     func() error { return line.Bench.Hop.Run(t.Context(), line) },
			}[strings.Fields(c.args)[0]]()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("bench %s: error %v, want %q", c.args, err, c.want)
		}
	}
}
