package host

import (
	"strconv"
	"strings"
)

// HugeBytes is how much of this process's memory lies in huge pages; 0 where that is not known.
func HugeBytes() int64 { return hugeBytes("/") }

func hugeBytes(root string) int64 {
	for line := range strings.Lines(readText(root, "proc/self/smaps_rollup")) {
		fields := strings.Fields(line) // AnonHugePages: 2048 kB
		if len(fields) != 3 || fields[0] != "AnonHugePages:" {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil || n < 0 || n > 1<<50 {
			return 0
		}
		return n << 10
	}
	return 0
}
