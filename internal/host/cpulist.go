package host

import (
	"fmt"
	"strconv"
	"strings"
)

// maxCPUs bounds the numbers of processors and nodes that are believed; it is what an affinity
// mask of the system call holds.
const maxCPUs = 1024

// parseList reads the kernel's form of a set, such as "0-3,8", whose numbers are below maxCPUs and
// ascend.
func parseList(s string) ([]int, error) {
	var list []int
	next := 0 // what the next number is at least
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		if part == "" && next == 0 {
			continue // an empty set
		}
		first, last, ranged := strings.Cut(part, "-")
		lo, err := strconv.Atoi(first)
		hi := lo
		if err == nil && ranged {
			hi, err = strconv.Atoi(last)
		}
		if err != nil || lo < next || hi < lo || hi >= maxCPUs {
			return nil, fmt.Errorf("%.40q is no list of processors", s)
		}
		for i := lo; i <= hi; i++ {
			list = append(list, i)
		}
		next = hi + 1
	}
	return list, nil
}
