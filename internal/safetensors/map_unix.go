//go:build unix

package safetensors

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mapFile maps the whole file read-only. The pages are shared with every other process that maps
// the same file.
func mapFile(path string) ([]byte, error) {
	f, size, err := openWeights(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return data, nil
}

func unmapFile(data []byte) error { return unix.Munmap(data) }

// expectNoRead is advice, too. The pages stay in the system's cache while there is room.
func expectNoRead(data []byte) { _ = unix.Madvise(data, unix.MADV_DONTNEED) }

// expectScattered is advice: a system that does not take it is slower.
func expectScattered(data []byte, on bool) {
	advice := unix.MADV_NORMAL
	if on {
		advice = unix.MADV_RANDOM
	}
	_ = unix.Madvise(data, advice)
}
