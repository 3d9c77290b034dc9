package host

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, root, name, text string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fake is a machine of two nodes with two cores each, whose second threads are processors 4 to 7.
func fake(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, "sys/devices/system/cpu/online", "0-7\n")
	write(t, root, "sys/devices/system/node/online", "0-1\n")
	write(t, root, "sys/devices/system/node/node0/cpulist", "0-1,4-5\n")
	write(t, root, "sys/devices/system/node/node1/cpulist", "2-3,6-7\n")
	for c := range 8 {
		write(t, root, fmt.Sprintf("sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", c),
			fmt.Sprintf("%d,%d\n", c%4, c%4+4))
	}
	return root
}

func ids(p Placement) []int {
	var list []int
	for _, c := range p.cpus {
		list = append(list, c.id)
	}
	return list
}

func TestPlace(t *testing.T) {
	root := fake(t)
	all := []int{0, 1, 2, 3, 4, 5, 6, 7}
	for _, c := range []struct {
		pin     Pin
		allowed []int
		quota   float64
		threads int
		want    []int
		nodes   []int
	}{
		{PinOn, all, math.Inf(1), 4, []int{0, 2, 1, 3}, []int{0, 1, 0, 1}},
		{PinOn, all, math.Inf(1), 6, []int{0, 2, 1, 3, 4, 6}, []int{0, 1, 0, 1, 0, 1}},
		{PinOn, []int{2, 3, 6, 7}, math.Inf(1), 2, []int{2, 3}, nil},
		// Others may have the same idea: no processor is taken, but every thread has a node.
		{PinAuto, all, math.Inf(1), 3, []int{0, 2, 1}, []int{0, 1, 0}},
		{PinNode, all, math.Inf(1), 3, []int{0, 2, 1}, []int{0, 1, 0}},
		{PinNode, all, math.Inf(1), 10, []int{0, 2, 1, 3, 4, 6, 5, 7, 0, 2},
			[]int{0, 1, 0, 1, 0, 1, 0, 1, 0, 1}},
		{PinNode, all, math.Inf(1), 1, nil, nil}, // the caller of a pool, which floats
		{PinNode, []int{2, 3, 6, 7}, math.Inf(1), 4, nil, nil},
		{PinNode, nil, math.Inf(1), 4, nil, nil},
		{PinAuto, []int{2, 3, 6, 7}, math.Inf(1), 4, []int{2, 3, 6, 7}, nil},
		{PinAuto, []int{2, 3, 6, 7}, 4, 2, []int{2, 3}, nil},    // its cores
		{PinAuto, []int{2, 3, 6, 7}, 3.5, 4, nil, nil},          // it may not fill them
		{PinAuto, []int{2, 3, 6, 7}, math.Inf(1), 3, nil, nil},  // it does not fill them
		{PinAuto, []int{2, 3, 6, 7}, math.Inf(1), 16, nil, nil}, // more than there are
		{PinAuto, []int{0, 2}, math.Inf(1), 2, []int{0, 2}, []int{0, 1}},
		{PinOff, []int{0, 2}, math.Inf(1), 2, nil, nil},
	} {
		m := readMachine(root, c.allowed)
		m.quota = c.quota
		p, err := m.place(c.pin, c.threads)
		if err != nil || !slices.Equal(ids(p), c.want) || !slices.Equal(p.Nodes(), c.nodes) {
			t.Errorf("%s, %d threads on %v, quota %g: %v on nodes %v, %v; want %v on %v", c.pin,
				c.threads, c.allowed, c.quota, ids(p), p.Nodes(), err, c.want, c.nodes)
		}
		if bound := p.Bind() != nil; bound != (c.want != nil) {
			t.Errorf("%s, %d threads on %v: Bind: %t", c.pin, c.threads, c.allowed, bound)
		}
	}
	m := readMachine(root, all)
	if _, err := m.place(PinOn, 9); err == nil {
		t.Error("nine threads were bound to eight processors")
	}
}

func TestKeptThreads(t *testing.T) {
	m := readMachine(fake(t), []int{0, 1, 2, 3, 5, 6, 7})
	p, err := m.place(PinNode, 5)
	if err != nil || p.Bound() != 0 {
		t.Errorf("%d threads have a processor of their own, %v", p.Bound(), err)
	}
	if want := (Memory{{ID: 0, Threads: 3}, {ID: 1, Threads: 2}}); !slices.Equal(p.Memory(), want) {
		t.Errorf("nodes %v, want %v", p.Memory(), want)
	}
	for node, want := range [][]int{{0, 1, 5}, {2, 3, 6, 7}} {
		if !slices.Equal(p.near[node], want) {
			t.Errorf("threads of node %d may run on %v, want %v", node, p.near[node], want)
		}
	}
}

func TestMappings(t *testing.T) {
	root := t.TempDir()
	if n := mappings(root); n != defaultMappings {
		t.Errorf("not known: %d", n)
	}
	write(t, root, "proc/sys/vm/max_map_count", "1048576\n")
	if n := mappings(root); n != 1<<20 {
		t.Errorf("Mappings = %d", n)
	}
}

func TestUnknownMachine(t *testing.T) {
	m := readMachine(t.TempDir(), []int{0, 1})
	if len(m.cpus) != 2 || m.online != 2 || m.cores() != 2 || !math.IsInf(m.quota, 1) {
		t.Errorf("a machine without /sys: %+v", m)
	}
}

func TestQuota(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  float64
	}{
		"none": {map[string]string{"proc/self/cgroup": "0::/\n"}, math.Inf(1)},
		"max": {map[string]string{"proc/self/cgroup": "0::/a\n",
			"sys/fs/cgroup/a/cpu.max": "max 100000\n"}, math.Inf(1)},
		"above": {map[string]string{"proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
			"sys/fs/cgroup/a/cpu.max":   "150000 100000\n"}, 1.5},
		"container": {map[string]string{"proc/self/cgroup": "0::/not/here\n",
			"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2},
		"first version": {map[string]string{"proc/self/cgroup": "4:cpu,cpuacct:/a\n",
			"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us":  "250000\n",
			"sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":    "-1\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us":   "100000\n"}, 2.5},
		"nonsense": {map[string]string{"proc/self/cgroup": "x\n0::../..\n",
			"sys/fs/cgroup/cpu.max": "0 0\n"}, math.Inf(1)},
	} {
		root := t.TempDir()
		for file, text := range c.files {
			write(t, root, file, text)
		}
		if got := quota(root); got != c.want {
			t.Errorf("%s: %g processors, want %g", name, got, c.want)
		}
	}
}

func TestHugeBytes(t *testing.T) {
	root := t.TempDir()
	if n := hugeBytes(root); n != 0 {
		t.Errorf("without smaps_rollup: %d", n)
	}
	write(t, root, "proc/self/smaps_rollup", "Rss:  9 kB\nAnonHugePages:      4096 kB\n")
	if n := hugeBytes(root); n != 4<<20 {
		t.Errorf("HugeBytes = %d", n)
	}
}

func TestParseList(t *testing.T) {
	for s, want := range map[string][]int{
		"": nil, "\n": nil, "0": {0}, "0-2,5\n": {0, 1, 2, 5}, "1023": {1023},
	} {
		if got, err := parseList(s); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"x", "1-", "-1", "2-1", "1,1", "3,1", "0-1024", "1,,2", "0-1:1/2"} {
		if got, err := parseList(s); err == nil {
			t.Errorf("%q was read as %v", s, got)
		}
	}
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{"0-3,8", "", "1023", "0-99999999999999999999", ",,1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parseList(s)
		if err != nil {
			return
		}
		if len(list) > maxCPUs || !slices.IsSorted(list) {
			t.Fatalf("%q: %v", s, list)
		}
		again, err := parseList(strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]"))
		if err != nil || !slices.Equal(again, list) {
			t.Fatalf("%q: %v, and again %v, %v", s, list, again, err)
		}
	})
}
