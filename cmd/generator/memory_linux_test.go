package main

import (
	"syscall"
	"testing"
)

func dumpable(t *testing.T) bool {
	t.Helper()
	is, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_DUMPABLE, 0, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	return is != 0
}

func TestTheMemoryIsInNoCoreDumpAndNotForOthersToRead(t *testing.T) {
	if !dumpable(t) {
		t.Fatal("the test's own process was not dumpable to begin with, so that this shows nothing")
	}
	t.Cleanup(func() { _, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 1, 0) })
	if err := hideMemory(); err != nil {
		t.Fatal(err)
	}
	if dumpable(t) {
		t.Error("it is dumpable")
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 || limit.Max != 0 {
		t.Errorf("core dumps: %+v, %v", limit, err)
	}
}
