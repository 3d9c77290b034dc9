//go:build unix

package local

import "syscall"

// ownGroup keeps the terminal's Ctrl-C from reaching children directly: their
// parent stops them in order.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
