package kernels

import (
	"slices"
	"testing"
)

// forceGeneric runs the plain twin until restore is called.
func forceGeneric() (restore func()) {
	was := fastPath
	fastPath = false
	return func() { fastPath = was }
}

func forceAVX2() (restore func()) { return func() {} }

// TestPaths says that the other tests compare both paths.
func TestPaths(t *testing.T) {
	var paths []string
	onPaths(func(path string) { paths = append(paths, path) })
	if !slices.Equal(paths, []string{"neon", "generic"}) {
		t.Errorf("paths are %v", paths)
	}
}
