package demo

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// requireEmbedded fails the test unless the folder at path holds the embedded files and nothing else.
func requireEmbedded(t *testing.T, path string) {
	t.Helper()
	files, err := readEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(files) {
		t.Errorf("%s holds %d entries, want %d: %v", path, len(entries), len(files), entries)
	}
	for _, f := range files {
		got, err := os.ReadFile(filepath.Join(path, f.name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, f.data) {
			t.Errorf("%s: %d bytes that differ from the embedded %d", f.name, len(got), len(f.data))
		}
	}
}

// unpackAtOnce unpacks into dir from n goroutines and returns the path that all of them must agree on.
func unpackAtOnce(t *testing.T, dir string, n int) string {
	t.Helper()
	paths, errs := make([]string, n), make([]error, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			paths[i], errs[i] = Unpack(dir)
		})
	}
	close(start)
	wg.Wait()
	for i := range n {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if paths[i] != paths[0] {
			t.Fatalf("two paths for one checkpoint: %s and %s", paths[0], paths[i])
		}
	}
	return paths[0]
}

func TestUnpack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	path := unpackAtOnce(t, dir, 4)
	requireEmbedded(t, path)
	if filepath.Dir(path) != dir {
		t.Errorf("unpacked to %s, want a folder in %s", path, dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("temporary folders are left: %v", entries)
	}
}

func TestUnpackReuses(t *testing.T) {
	dir := t.TempDir()
	path := unpackAtOnce(t, dir, 1)
	before, err := os.Stat(filepath.Join(path, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(filepath.Join(unpackAtOnce(t, dir, 2), "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("a complete folder was written again")
	}
}

func TestUnpackRepairs(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(file string) error
	}{
		{"flipped byte", flipByte},
		{"cut short", func(file string) error { return os.Truncate(file, 100) }},
		{"missing", os.Remove},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := unpackAtOnce(t, dir, 1)
			if err := c.damage(filepath.Join(path, "model.safetensors")); err != nil {
				t.Fatal(err)
			}
			if again := unpackAtOnce(t, dir, 3); again != path {
				t.Errorf("repaired at %s, want %s", again, path)
			}
			requireEmbedded(t, path)
		})
	}
}

// flipByte changes one byte in the middle of a file and keeps its size.
func flipByte(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return os.WriteFile(file, data, 0o644)
}

func TestUnpackNamesTheObstacle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("unpacking into a file: error %v, want one that names %s", err, dir)
	}
}

func TestContentHash(t *testing.T) {
	base := []file{{"a", []byte("1")}, {"b", []byte("2")}}
	for name, other := range map[string][]file{
		"other bytes":  {{"a", []byte("1")}, {"b", []byte("3")}},
		"other name":   {{"a", []byte("1")}, {"c", []byte("2")}},
		"fewer files":  {{"a", []byte("1")}},
		"moved border": {{"a", []byte("1b 1\n2")}},
	} {
		if contentHash(base) == contentHash(other) {
			t.Errorf("%s: the same hash", name)
		}
	}
}

// TestCheckpointIsComplete guards what is committed: an ordinary folder of the promised kind and size.
func TestCheckpointIsComplete(t *testing.T) {
	files, err := readEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string][]byte)
	for _, f := range files {
		byName[f.name] = f.data
	}
	for _, name := range []string{
		"README.md", "chat_template.jinja", "config.json", "generation_config.json",
		"model.safetensors", "tokenizer.json", "tokenizer_config.json",
	} {
		if len(byName[name]) == 0 {
			t.Errorf("%s is missing or empty", name)
		}
	}
	if size := len(byName["model.safetensors"]); size > 10_000_000 {
		t.Errorf("model.safetensors has %d bytes, want at most 10,000,000", size)
	}
	var config struct {
		Family string `json:"model_type"`
	}
	if err := json.Unmarshal(byName["config.json"], &config); err != nil {
		t.Fatal(err)
	}
	if config.Family != "qwen3_moe" {
		t.Errorf("config.json: model_type %q, want qwen3_moe", config.Family)
	}
}
