//go:build unix

package main

import (
	"math"
	"syscall"
)

// openFiles returns how many files this process may have open. Go's runtime has raised the limit as far as it may.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || uint64(limit.Cur) > math.MaxInt32 { //nolint:unconvert // it is signed on some systems
		return math.MaxInt32
	}
	return int(limit.Cur)
}
