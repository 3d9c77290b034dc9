package host

import (
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// cpu is a processor as the system counts them: one thread of a core.
type cpu struct {
	id, node int
	second   bool // another thread of its core comes before it
}

// machine is what a process may use.
type machine struct {
	cpus   []cpu   // that it may run on, ascending
	online int     // all processors
	quota  float64 // processors' worth of time; +Inf: no bound
}

// readMachine reads what there is under a root folder; allowed is the process's affinity.
func readMachine(root string, allowed []int) machine {
	m := machine{online: len(allowed), quota: quota(root)}
	if online := readList(root, "sys/devices/system/cpu/online"); len(online) > 0 {
		m.online = len(online)
	}
	nodes := make(map[int]int) // of processors
	for _, n := range readList(root, "sys/devices/system/node/online") {
		for _, c := range readList(root, fmt.Sprintf("sys/devices/system/node/node%d/cpulist", n)) {
			nodes[c] = n
		}
	}
	seen := make(map[int]bool) // cores, by their first processor
	for _, id := range allowed {
		core := id
		name := fmt.Sprintf("sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", id)
		if siblings := readList(root, name); len(siblings) > 0 {
			core = siblings[0]
		}
		m.cpus = append(m.cpus, cpu{id: id, node: nodes[id], second: seen[core]})
		seen[core] = true
	}
	return m
}

// cores is how many of the processors are the first of their core.
func (m *machine) cores() (n int) {
	for _, c := range m.cpus {
		if !c.second {
			n++
		}
	}
	return n
}

// quota is the least that the process's control group and those above it grant, in the second
// version's form or the first's.
func quota(root string) float64 {
	least := math.Inf(1)
	for line := range strings.Lines(readText(root, "proc/self/cgroup")) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		// A container sees its own group as the root, whatever its path says.
		for dir := path.Clean("/" + fields[2]); ; dir = path.Dir(dir) {
			switch {
			case fields[1] == "":
				least = min(least, ratio(readText(root, "sys/fs/cgroup"+dir+"/cpu.max")))
			case strings.Contains(","+fields[1]+",", ",cpu,"):
				group := "sys/fs/cgroup/cpu" + dir
				least = min(least, ratio(readText(root, group+"/cpu.cfs_quota_us")+" "+
					readText(root, group+"/cpu.cfs_period_us")))
			}
			if dir == "/" {
				break
			}
		}
	}
	return least
}

// ratio is the quotient of two numbers; +Inf for anything else, such as "max 100000".
func ratio(s string) float64 {
	fields := strings.Fields(s)
	if len(fields) != 2 {
		return math.Inf(1)
	}
	time, err := strconv.ParseInt(fields[0], 10, 64)
	period, wrong := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || wrong != nil || time <= 0 || period <= 0 {
		return math.Inf(1)
	}
	return float64(time) / float64(period)
}

// readList is a set in a file; nil if there is none.
func readList(root, name string) []int {
	list, err := parseList(readText(root, name))
	if err != nil {
		return nil
	}
	return list
}

// readText is a file of the system, which are short; empty if it cannot be read.
func readText(root, name string) string {
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return ""
	}
	return string(text)
}
