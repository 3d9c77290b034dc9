//go:build !amd64

package kernels

func forceGeneric() (restore func()) { return func() {} }
