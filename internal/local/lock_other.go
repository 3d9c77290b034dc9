//go:build !unix

package local

import (
	"fmt"
	"os"
)

// lockDir creates dir; directories cannot be locked here.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the registry's directory: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the registry's directory: %w", err)
	}
	return f, nil
}
