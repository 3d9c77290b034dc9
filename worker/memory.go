package worker

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// machineMemory returns how many bytes of memory this process can count on: the
// machine's, or its container's if that has fewer; 0 if the system under root
// does not tell.
func machineMemory(root string) int64 {
	var memory int64
	if info, err := os.ReadFile(filepath.Join(root, "proc/meminfo")); err == nil {
		for line := range bytes.Lines(info) {
			if fields := bytes.Fields(line); len(fields) > 1 && string(fields[0]) == "MemTotal:" {
				memory = number(fields[1]) * 1024
			}
		}
	}
	for _, limit := range []string{
		"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes",
	} {
		if text, err := os.ReadFile(filepath.Join(root, limit)); err == nil {
			if n := number(bytes.TrimSpace(text)); n > 0 && n < memory {
				memory = n
			}
		}
	}
	return memory
}

// number reads a number, 0 for anything else: cgroups write "max" for no limit.
func number(text []byte) int64 {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
