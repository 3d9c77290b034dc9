//go:build amd64 || arm64

package kernels

// relax tells the processor that this is a loop that waits.
func relax()
