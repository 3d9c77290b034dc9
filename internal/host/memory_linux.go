package host

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// nodeSet is a set of memory nodes, as the system calls have it: bits of words.
type nodeSet [maxCPUs / wordBits]uint

const wordBits = 8 * int(unsafe.Sizeof(uint(0)))

// bindMemory is mbind(2). No page is moved: there are none yet.
func bindMemory(data []byte, id int) error {
	if len(data) == 0 {
		return nil
	}
	var nodes nodeSet
	nodes[id/wordBits] |= 1 << (id % wordBits)
	_, _, errno := unix.Syscall6(unix.SYS_MBIND,
		uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), unix.MPOL_PREFERRED,
		uintptr(unsafe.Pointer(&nodes)), maxCPUs+1, 0) // the system counts bits from one
	if errno != 0 {
		return errno
	}
	return nil
}
