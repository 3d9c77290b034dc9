//go:build unix

package local

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockDir creates dir and keeps other processes from locking it until the
// returned file is closed, or this process ends. On a file system that cannot
// lock directories (NFS) there is no such protection.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the registry's directory: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the registry's directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("another conclave is running on %s: "+
			"stop it or choose another address with --listen", dir)
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
