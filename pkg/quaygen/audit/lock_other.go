//go:build !unix

package audit

import (
	"errors"
	"os"
)

// tryLock refuses: the lines of two processes would not be one chain.
func tryLock(*os.File) error {
	return errors.New("files cannot be locked on this system; use audit.stdout")
}
