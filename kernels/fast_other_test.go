//go:build !amd64 && !arm64

package kernels

func forceGeneric() (restore func()) { return func() {} }
func forceAVX2() (restore func())    { return func() {} }
