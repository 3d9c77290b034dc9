//go:build unix

package shard

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/conclave-serve/conclave/internal/host"
)

// memory is outside the Go heap: the garbage collector neither scans nor counts it. It is unmapped
// when nothing refers to the memory any more, as every matrix does that lies in it.
type memory struct{ data []byte }

func newMemory(bytes int) (*memory, error) {
	if bytes == 0 {
		return &memory{}, nil
	}
	data, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", bytes, err)
	}
	host.Huge(data)
	m := &memory{data}
	runtime.AddCleanup(m, func(data []byte) {
		_ = unix.Munmap(data) // it was mapped as a whole
	}, data)
	return m, nil
}
