//go:build unix

package audit

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock of an open file: the lines of two processes would not be one chain. It ends with the file, or with the
// process.
func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errors.New("another process writes to it")
	}
	return err
}
