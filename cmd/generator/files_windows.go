package main

import "math"

// openFiles returns how many files this process may have open: there is no limit worth the name.
func openFiles() int { return math.MaxInt32 }
