//go:build !linux

package process

import "syscall"

// dieWithParent: only Linux can do it. Elsewhere a killed test binary leaves
// its children behind; an interrupt from the terminal reaches them too.
func dieWithParent() *syscall.SysProcAttr { return nil }
