//go:build !unix

package local

import "syscall"

// ownGroup has no counterpart here.
func ownGroup() *syscall.SysProcAttr { return nil }
