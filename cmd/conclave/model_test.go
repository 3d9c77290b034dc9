package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestModelPath(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ given, name string }{
		{dir, filepath.Base(dir)},
		{dir + "/", filepath.Base(dir)},
		{"https://hub.example/org/Qwen3-30B-A3B/resolve/main", "Qwen3-30B-A3B"},
		{"http://127.0.0.1:8000/demo/", "demo"},
	} {
		p, err := parse(t, "worker", "--model", c.given)
		if err != nil {
			t.Errorf("%s: %v", c.given, err)
		} else if got := p.Worker.Model.name(); got != c.name {
			t.Errorf("%s is called %q, want %q", c.given, got, c.name)
		}
	}
	for given, want := range map[string]string{
		filepath.Join(dir, "absent"):     "no such file",
		"https://user:hunter2@host/m":    "give a token instead",
		"https://host/m?signature=abcde": "has a query",
	} {
		if _, err := parse(t, "worker", "--model", given); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", given, err, want)
		}
	}
}

// What up is told about the model's URL reaches its children, the token by the environment only.
func TestHubFlagsForChildren(t *testing.T) {
	c, err := parse(t, "up", "--model", "https://h/m", "--hub-token", "secret", "--cache-dir", "/cache",
		"--cache-limit", "1GiB", "--hub-ca", "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	worker := c.Up.workerArgs("https://h/m")
	coordinator := c.Up.coordinatorArgs("https://h/m", "m")
	if slices.ContainsFunc(slices.Concat(worker, coordinator), func(s string) bool {
		return strings.Contains(s, "secret")
	}) {
		t.Error("the token is in a command line")
	}
	t.Setenv("CONCLAVE_HUB_TOKEN", strings.TrimPrefix(c.Up.hubEnv()[0], "CONCLAVE_HUB_TOKEN="))
	w, err := parse(t, append([]string{"worker"}, worker...)...)
	if err != nil || w.Worker.hubFlags != c.Up.hubFlags {
		t.Errorf("the worker's settings are %+v, %v", w.Worker.hubFlags, err)
	}
	k, err := parse(t, append([]string{"coordinator"}, coordinator...)...)
	if err != nil || k.Coordinator.hubFlags != c.Up.hubFlags {
		t.Errorf("the coordinator's settings are %+v, %v", k.Coordinator.hubFlags, err)
	}
}
