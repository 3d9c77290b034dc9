package kernels

import "syscall"

// yield lets another process's thread have the processor, if one waits for it.
func yield() { _, _, _ = syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) }
