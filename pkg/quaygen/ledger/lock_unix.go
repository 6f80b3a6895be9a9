//go:build unix

package ledger

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock of an open file, or returns errLocked. It ends with the file, or with the process.
func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
