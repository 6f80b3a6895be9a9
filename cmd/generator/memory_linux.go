package main

import (
	"fmt"
	"syscall"
)

// hideMemory keeps what this process has in memory, which is tokens, from being written to a disk or read by another
// process of the same user: no core dump, no /proc/PID/mem, no debugger that attaches. A limit on core dumps alone would not do:
// where the kernel pipes them into a program, as systemd-coredump, it does not ask for the limit. Whoever is root, or has
// CAP_SYS_PTRACE, reads the memory all the same.
func hideMemory() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return fmt.Errorf("keeping the memory out of core dumps: %w", errno)
	}
	return noCoreDumps()
}
