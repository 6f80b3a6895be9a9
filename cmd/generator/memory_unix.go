//go:build unix

package main

import (
	"fmt"
	"syscall"
)

// noCoreDumps sets the limit for the size of core dumps to nothing, for good.
func noCoreDumps() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	return nil
}
