//go:build unix && !linux

package main

// hideMemory keeps what this process has in memory, which is tokens, out of core dumps.
func hideMemory() error { return noCoreDumps() }
