package worker

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMachineMemory(t *testing.T) {
	const meminfo = "MemTotal:        1000 kB\nMemFree:           10 kB\n"
	const v2, v1 = "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"unknown":       {nil, 0},
		"a machine":     {map[string]string{"proc/meminfo": meminfo}, 1024000},
		"no limit":      {map[string]string{"proc/meminfo": meminfo, v2: "max\n"}, 1024000},
		"a container":   {map[string]string{"proc/meminfo": meminfo, v2: "500000\n"}, 500000},
		"an old one":    {map[string]string{"proc/meminfo": meminfo, v1: "400000\n"}, 400000},
		"without limit": {map[string]string{"proc/meminfo": meminfo, v1: "9223372036854771712\n"}, 1024000},
		"nonsense":      {map[string]string{"proc/meminfo": "MemTotal:\nMemTotal: x kB\n"}, 0},
		"only a cgroup": {map[string]string{v2: "500000\n"}, 0},
	} {
		root := t.TempDir()
		for path, text := range c.files {
			path = filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := machineMemory(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
