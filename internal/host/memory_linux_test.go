package host

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// policy is the system's word on a page: how its memory is chosen, and from which nodes.
func policy(t *testing.T, page *byte) (mode int, nodes nodeSet) {
	t.Helper()
	_, _, errno := unix.Syscall6(unix.SYS_GET_MEMPOLICY,
		uintptr(unsafe.Pointer(&mode)), uintptr(unsafe.Pointer(&nodes)), maxCPUs+1,
		uintptr(unsafe.Pointer(page)), unix.MPOL_F_ADDR, 0)
	if errno != 0 {
		t.Fatalf("get_mempolicy: %v", errno)
	}
	return mode & 0xff, nodes
}

// mapPages maps memory that nobody has touched.
func mapPages(t *testing.T, bytes int) []byte {
	t.Helper()
	data, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(data) }) // it was mapped as a whole
	return data
}

// TestBindMemory asks the system for a policy on the midst of a mapping, and what it made of that.
func TestBindMemory(t *testing.T) {
	page := os.Getpagesize()
	data := mapPages(t, 8*page)
	id := readList("/", "sys/devices/system/node/has_memory")
	if len(id) == 0 {
		t.Skip("the system does not say which nodes have memory")
	}
	m := Memory{{ID: id[0]}}
	err := m.Bind(data[2*page:5*page+1], 0) // of the last page a part
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		t.Skipf("mbind is not for this process: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] = byte(i)
	}
	for i := range 8 {
		mode, nodes := policy(t, &data[i*page])
		want, wantMode := nodeSet{}, unix.MPOL_DEFAULT
		if i >= 2 && i < 6 {
			wantMode = unix.MPOL_PREFERRED
			want[id[0]/wordBits] = 1 << (id[0] % wordBits)
		}
		if mode != wantMode || nodes != want {
			t.Errorf("page %d: policy %d of nodes %x, want %d of %x", i, mode, nodes[0], wantMode, want[0])
		}
	}
	maps, err := os.ReadFile("/proc/self/numa_maps")
	if err != nil {
		t.Skipf("the policy is set; where pages lie is not known: %v", err)
	}
	at := fmt.Sprintf("\n%x prefer:%d ", uintptr(unsafe.Pointer(&data[2*page])), id[0])
	_, line, found := strings.Cut(string(maps), at)
	line, _, _ = strings.Cut(line, "\n")
	if !found || !strings.Contains(line+" ", fmt.Sprintf(" N%d=4 ", id[0])) {
		t.Errorf("numa_maps says %q after %q", line, at)
	}
	runtime.KeepAlive(data)
}

func TestBindMemoryToNoNode(t *testing.T) {
	data := mapPages(t, os.Getpagesize())
	if err := (Memory{{ID: maxCPUs - 1}}).Bind(data, 0); err == nil {
		t.Error("memory was bound to a node that no machine has")
	}
	if err := (Memory{{ID: maxCPUs - 1}}).Bind(nil, 0); err != nil {
		t.Errorf("nothing was not bound: %v", err)
	}
	data[0] = 1 // usable all the same
}
