//go:build unix

package kvcache

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/conclave-serve/conclave/internal/host"
)

// allocate maps zeroed memory outside the Go heap: what is untouched costs
// nothing and the garbage collector does not see it.
func allocate(bytes, floats int64) ([]byte, []float32, func() error, error) {
	begin := (bytes + 3) &^ 3 // of the floats, aligned
	raw, err := unix.Mmap(-1, 0, int(begin+4*floats), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, nil, err
	}
	host.Huge(raw)
	var values []float32
	if floats > 0 {
		values = unsafe.Slice((*float32)(unsafe.Pointer(&raw[begin])), floats)
	}
	return raw[:bytes], values, func() error { return unix.Munmap(raw) }, nil
}
